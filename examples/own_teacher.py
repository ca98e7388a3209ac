# %% [markdown]
# # Use a network of your own as the teacher, whose features the parts must explain
#
# Any Keras model from images to one or several feature maps is a teacher. It is frozen.

# %% [markdown]
# ## The network
#
# It is given RGB in 0 to 255; if it was trained on another range, its first layer scales the
# images. Maps of a stride of 8 or 16 pixels are best, so the network ends in its middle.

# %%
import keras

WEIGHTS = "imagenet"  # which Keras downloads; None for random weights
network = keras.applications.MobileNetV2(alpha=0.35, include_top=False, weights=WEIGHTS)
middle = keras.Model(network.input, network.get_layer("block_6_expand_relu").output)
image = keras.Input((None, None, 3))
scaled = keras.layers.Rescaling(1 / 127.5, offset=-1)(image)
teacher = keras.Model(image, middle(scaled), name="my_teacher")

# %% [markdown]
# ## The training of a recipe, with this teacher
#
# Its features are computed once, and standardised, so that the weights of the losses suit it.

# %%
import keras_parts

COUNT, SIZE, STEPS = 60, 161, 240
animals = keras_parts.data.load("toy", "train", count=COUNT, size=SIZE)
discovery, batches = keras_parts.prepare_training(
    "toy", animals, teacher=teacher, num_parts=4, image_size=SIZE, steps=STEPS
)
discovery.fit(batches, steps_per_epoch=STEPS, verbose=2)

# %% [markdown]
# ## Look at the parts

# %%
discovery.segmenter.segment(animals[0].image).overlay().save("parts.png")
