# %% [markdown]
# # Use parts as features of another model
#
# Each part of an image is described by the mean of the network's features over it. A small
# classifier learns the species of drawn animals from these descriptors, which say where to look.

# %% [markdown]
# ## Descriptors of parts

# %%
import numpy as np

import keras_parts

COUNT = 96
segmenter = keras_parts.PartSegmenter.from_preset("toy")


def describe(split):
    """Descriptors (images, parts, channels), areas (images, parts) and species (images,)."""
    animals = keras_parts.data.load("toy", split, count=COUNT)
    images = (sample.image for sample in animals)
    found = list(segmenter.segment(images, descriptors=True))
    descriptors = np.stack([parts.descriptors for parts in found])
    areas = np.stack([parts.areas / parts.labels.size for parts in found])
    return descriptors, areas, animals.categories()


# %% [markdown]
# ## A classifier of them
#
# It is a Keras model of its own, with two inputs. The descriptors are normalised first.

# %%
import keras
from keras import layers

descriptors, areas, species = describe("train")
normalised = layers.Normalization()
normalised.adapt(descriptors)
parts = keras.Input(descriptors.shape[1:], name="descriptors")
sizes = keras.Input(areas.shape[1:], name="areas")
x = layers.Concatenate()([layers.Flatten()(normalised(parts)), sizes])
classes = layers.Dense(int(species.max()) + 1)(layers.Dropout(0.5)(x))
classifier = keras.Model([parts, sizes], classes)

# %% [markdown]
# ## Train and test it

# %%
EPOCHS = 60
classifier.compile(
    keras.optimizers.Adam(1e-3),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
classifier.fit([descriptors, areas], species, epochs=EPOCHS, verbose=0)
descriptors, areas, species = describe("test")
_, accuracy = classifier.evaluate([descriptors, areas], species, verbose=0)
print("share of the images whose species is recognised:", round(accuracy, 2))

# %% [markdown]
# ## The segmenter inside of another model
#
# As a layer it takes images of its own size, and its logits are a tensor like any other.

# %%
image = keras.Input((161, 161, 3))
shares = layers.GlobalAveragePooling2D()(layers.Softmax()(segmenter(image)))
model = keras.Model(image, shares, name="shares_of_the_image")
example = keras_parts.data.load("toy", "test", count=1)[0].image
print(model.predict(example[None], verbose=0).round(3).tolist())
