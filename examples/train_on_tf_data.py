# %% [markdown]
# # Discover parts with a `tf.data.Dataset` of images and masks, on any backend
#
# Needs TensorFlow, for `tf.data` only. The images are drawn animals; replace them by your own, with
# masks of their objects.

# %% [markdown]
# ## Images and masks
#
# Images are RGB in 0 to 255, and masks are bool, 0 and 1, or 0 and 255. Both sides of the images
# are a multiple of 16, plus 1.

# %%
import numpy as np

import keras_parts

COUNT, SIZE = 60, 97
animals = keras_parts.data.load("toy", "train", count=COUNT, size=SIZE)
images = np.stack([sample.image for sample in animals])
masks = np.stack([sample.foreground for sample in animals])

# %% [markdown]
# ## A data set

# %%
import tensorflow as tf

BATCH = 12
pairs = tf.data.Dataset.from_tensor_slices((images, masks))
dataset = pairs.shuffle(COUNT, seed=0).repeat().batch(BATCH).prefetch(2)

# %% [markdown]
# ## The networks
#
# The teacher is frozen; its features guide the parts. They are standardised, as the weights of the
# losses expect.

# %%
from keras_parts import PartDiscovery, PartSegmenter
from keras_parts.discovery import create_teacher, fit_standardiser
from keras_parts.models import SegmenterConfig

PARTS = 4
segmenter = PartSegmenter(SegmenterConfig(PARTS, "small", output_stride=8, image_size=SIZE))
teacher = create_teacher("small")
features = (teacher.predict_on_batch(x) for x, _ in pairs.batch(BATCH).as_numpy_iterator())
foregrounds = (y[..., None] for _, y in pairs.batch(BATCH).as_numpy_iterator())
standardiser = fit_standardiser(zip(features, foregrounds, strict=True))

# %% [markdown]
# ## Train
#
# By default the losses are those of the recipe "default". Keras' callbacks work as ever.

# %%
import keras

STEPS = 240
discovery = PartDiscovery(segmenter, teacher=teacher, standardiser=standardiser)
discovery.compile(keras.optimizers.Adam(1e-3, clipnorm=5.0))
discovery.fit(
    dataset,
    steps_per_epoch=STEPS // 2,
    epochs=2,
    callbacks=[keras.callbacks.TerminateOnNaN()],
    verbose=2,
)

# %% [markdown]
# ## Look at the parts

# %%
from keras_parts.results import contact_sheet, save_picture

found = segmenter.segment(images[:8])
save_picture(contact_sheet([parts.overlay() for parts in found]), "parts.png")
segmenter.save_preset("segmenter")
