# %% [markdown]
# # Load a trained segmenter, and find the parts of images
#
# The model "toy" comes with the package and knows drawn animals. The others of the zoo (`cub`,
# `faces-4`, ...), a run folder of your own and addresses are loaded in the same way.

# %% [markdown]
# ## Load a model of the zoo
#
# A `PartSegmenter` is a Keras model: `summary()`, `save()` and `predict()` are those of Keras.

# %%
import keras_parts

segmenter = keras_parts.PartSegmenter.from_preset("toy")
print(segmenter)

# %% [markdown]
# ## Segment an image
#
# `segment` takes a path, bytes, an open file, a `PIL.Image`, an array or a tensor. Its result has
# the size of the image.

# %%
animals = keras_parts.data.load("toy", "test", count=6)
parts = segmenter.segment(animals[0].image)
print(parts)
parts.overlay().save("parts.png")

# %% [markdown]
# ## One part
#
# Parts have names or numbers. Labels begin at 1, as 0 is the background.

# %%
head = parts["head"]
print(head.area, "pixels around", head.centroid.tolist(), "with probability", round(head.score, 2))
print({part.name: part.area for part in parts})

# %% [markdown]
# ## Many images
#
# A list gives a list. A generator is read as its results are taken, so that it may be endless.

# %%
for found in segmenter.segment(sample.image for sample in animals):
    print([part.name for part in found if part.area])

# %% [markdown]
# ## Predict with Keras
#
# `predict` resizes images to the network's input, and returns logits at its output stride. Channel
# 0 is the background.

# %%
import keras
import numpy as np

images = np.stack([sample.image for sample in animals])
logits = segmenter.predict(images, verbose=0)
probabilities = keras.ops.convert_to_numpy(keras.ops.softmax(logits))
print(logits.shape, "share of the objects:", round(float(1 - probabilities[..., 0].mean()), 2))
