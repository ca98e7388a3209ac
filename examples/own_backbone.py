# %% [markdown]
# # Build segmenters on a backbone of your own
#
# An architecture is a function that creates the backbone, under a name. Its segmenters are trained,
# saved and loaded as those of the package are.

# %% [markdown]
# ## The backbone
#
# A function of the output stride and the names of the outputs. A model with a dictionary of feature
# maps becomes a backbone as it is; `keras_parts.backbones.atrous` takes networks of
# `keras.applications` and replaces strides by dilation.

# %%
import keras
from keras import layers

from keras_parts.backbones import Preprocessing, from_keras

SIGNED = Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))  # RGB from -1 to 1


def my_backbone(output_stride, outputs):
    image = keras.Input((None, None, 3))
    x, maps = image, {}
    for name, channels in (("half", 16), ("quarter", 32), ("eighth", 64), ("sixteenth", 96)):
        x = layers.Conv2D(channels, 3, strides=2, padding="same", name=f"{name}_conv")(x)
        x = layers.GroupNormalization(8, name=f"{name}_norm")(x)
        x = maps[name] = layers.ReLU(name=name)(x)
    model = keras.Model(image, {name: maps[name] for name in outputs}, name="my_backbone")
    return from_keras(model, preprocessing=SIGNED)


# %% [markdown]
# ## The architecture
#
# For each output stride of the logits: the output stride of the backbone, and its outputs that the
# head combines.

# %%
from keras_parts.models import architectures

strides = {8: (16, ("eighth", "sixteenth")), 16: (16, ("sixteenth",))}
architectures.register("mine", my_backbone, strides, image_size=161)

# %% [markdown]
# ## Train it

# %%
import keras_parts

COUNT, SIZE, STEPS = 60, 161, 240
animals = keras_parts.data.load("toy", "train", count=COUNT, size=SIZE)
discovery, batches = keras_parts.prepare_training(
    "toy", animals, architecture="mine", num_parts=4, image_size=SIZE, steps=STEPS
)
discovery.fit(batches, steps_per_epoch=STEPS, verbose=2)
discovery.segmenter.segment(animals[0].image).overlay().save("parts.png")

# %% [markdown]
# ## Save and load it
#
# Every program that loads the segmenter registers the name first.

# %%
discovery.segmenter.save_preset("mine")
print(keras_parts.PartSegmenter.from_preset("mine"))
