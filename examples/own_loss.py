# %% [markdown]
# # Train with a loss of your own beside those of a recipe
#
# A loss is a function of `Views`: the logits of both views of each image, the foreground, the
# teacher features and the batch itself.

# %% [markdown]
# ## The loss
#
# This one makes the network certain: it is the entropy of the parts within the object.

# %%
from keras import ops


def entropy(views):
    probabilities = ops.softmax(views.logits)  # (batch, height, width, parts)
    each = -ops.sum(probabilities * ops.log(probabilities + 1e-7), axis=-1, keepdims=True)
    return ops.sum(each * views.foreground) / (ops.sum(views.foreground) + 1e-7)


# %% [markdown]
# ## The training of a recipe, with this loss
#
# A weight alone changes a loss of the recipe, and a weight of 0 only reports it.

# %%
import keras_parts

COUNT, SIZE, STEPS = 60, 161, 240
animals = keras_parts.data.load("toy", "train", count=COUNT, size=SIZE)
discovery, batches = keras_parts.prepare_training(
    "toy",
    animals,
    losses={"entropy": (entropy, 0.1), "balance": 2.0},
    num_parts=4,
    image_size=SIZE,
    steps=STEPS,
)

# %% [markdown]
# ## Train

# %%
history = discovery.fit(batches, steps_per_epoch=STEPS // 2, epochs=2, verbose=2).history
print("entropy:", [round(value, 3) for value in history["entropy"]])
discovery.segmenter.segment(animals[0].image).overlay().save("parts.png")
