# %% [markdown]
# # Fine-tune a segmenter with labels of parts, as any Keras model
#
# Discovery needs no labels. Where a few images have some, the network learns the parts that they
# name.

# %% [markdown]
# ## Images with labels
#
# Labels are maps of pixels: 0 is the background, k is part k.

# %%
import numpy as np

import keras_parts

COUNT, SIZE = 60, 161
animals = keras_parts.data.load("toy", "train", count=COUNT, size=SIZE)
images = np.stack([sample.image for sample in animals])
labels = np.stack([sample.part_labels for sample in animals])
names = animals.info.part_names
print(len(images), "images with", ", ".join(names))

# %% [markdown]
# ## A segmenter with these parts, on the backbone of a trained one

# %%
from keras_parts import PartSegmenter
from keras_parts.models import SegmenterConfig

trained = PartSegmenter.from_preset("toy")
config = SegmenterConfig(len(names), "small", output_stride=8, image_size=SIZE, part_names=names)
segmenter = PartSegmenter(config)
segmenter.backbone.set_weights(trained.backbone.get_weights())

# %% [markdown]
# ## Train it with Keras' own loss
#
# The network computes logits at every eighth pixel, from the first to the last: the labels are
# those of these pixels.

# %%
import keras

EPOCHS, STRIDE = 10, config.output_stride
segmenter.compile(
    keras.optimizers.Adam(1e-3),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
segmenter.fit(images, labels[:, ::STRIDE, ::STRIDE], batch_size=12, epochs=EPOCHS, verbose=2)

# %% [markdown]
# ## Compare with the labels of other images

# %%
test = keras_parts.data.load("toy", "test", count=min(COUNT, 12), size=SIZE)
found = segmenter.segment([sample.image for sample in test])
predicted = np.stack([parts.labels for parts in found])
right = predicted == np.stack([sample.part_labels for sample in test])
print("pixels with the right label:", round(float(right.mean()), 3))
found[0].overlay().save("parts.png")
