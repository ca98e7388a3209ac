# %% [markdown]
# # Train on several devices
#
# `train` spreads each batch over all devices of a machine, on TensorFlow and JAX. The result is
# that of one device. With PyTorch, Keras trains on one device.

# %% [markdown]
# ## Which devices there are

# %%
import keras

import keras_parts
from keras_parts.training import recipe, train
from keras_parts.training.devices import find_devices

print(keras.config.backend(), "trains on", find_devices("all").num_devices, "devices")

# %% [markdown]
# ## A run on all of them
#
# `batch_size` is the number of images on all devices together, so it is a multiple of their number.

# %%
COUNT, SIZE, STEPS = 60, 161, 240
animals = keras_parts.data.load("toy", "train", count=COUNT, size=SIZE)
settings = recipe("toy", num_parts=4, image_size=SIZE, steps=STEPS, batch_size=12)
summary = train(settings, animals, "runs/devices", devices="all", overwrite=True)
print(summary["devices"], "devices:", summary["images_per_second"], "images a second")

# %% [markdown]
# ## Look at the parts

# %%
segmenter = keras_parts.PartSegmenter.from_preset("runs/devices")
segmenter.segment(animals[0].image).overlay().save("parts.png")
