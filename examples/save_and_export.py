# %% [markdown]
# # Save a segmenter, load it again, and export it to other runtimes

# %% [markdown]
# ## A file of Keras
#
# It is loaded in safe mode, without custom objects. Another program must import the class first:
# `from keras_parts import PartSegmenter`, as `import keras_parts` alone imports no Keras.

# %%
import keras

import keras_parts

segmenter = keras_parts.PartSegmenter.from_preset("toy")
segmenter.save("toy.keras")
loaded = keras.models.load_model("toy.keras")
print(loaded)

# %% [markdown]
# ## A folder
#
# It holds the configuration as JSON, and the weights. The command line takes it as well:
# `keras-parts segment photos/ --model mine`.

# %%
loaded.save_preset("mine")
again = keras_parts.PartSegmenter.from_preset("mine", dtype="mixed_bfloat16", name="smaller")
print(again.name, "computes in", again.compute_dtype)

# %% [markdown]
# ## The results are the same

# %%
image = keras_parts.data.load("toy", "test", count=1)[0].image
labels = [model.segment(image).labels for model in (segmenter, loaded)]
print("equal labels:", bool((labels[0] == labels[1]).all()))

# %% [markdown]
# ## Another runtime
#
# The formats are "saved_model", "onnx", "litert" and "openvino". What is written is compared with
# the Keras model. Needs `pip install 'keras-parts[exports]'`.

# %%
from keras_parts.exports import export

written = export(segmenter, "onnx", "toy.onnx", name="toy")
print(written)
