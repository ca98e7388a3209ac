"""Discover the parts of the objects in a folder of photographs, and look at them.

Needs `photos/` and `masks/` with files of the same names. Run it as it is, or cell by cell in an
editor that knows `# %%`.
"""

# %% The photographs, each with the mask of its object
from keras_parts import data

photographs = data.load("folder", "all", data_dir="photos", masks="masks")
print(len(photographs), "photographs, the first of", photographs[0].size, "pixels")

# %% What the program sees: photographs with their masks and boxes
from keras_parts.data.sample_sheet import sample_sheet
from keras_parts.results import save_picture

save_picture(sample_sheet(photographs, 16), "samples.png")

# %% A recipe holds every setting. "toy" trains a small network from scratch; for photographs take
# "default", whose backbone is EfficientNet-Lite0 with ImageNet weights.
from keras_parts.training import recipe

STEPS = 480
settings = recipe("toy", num_parts=4, steps=STEPS)

# %% Train. The run folder holds the segmenter, its loss curves and pictures of its parts.
from keras_parts.training import train

summary = train(settings, photographs, "runs/mine", overwrite=True)
print(summary)

# %% The parts of the first photographs
import keras_parts
from keras_parts.results import contact_sheet

segmenter = keras_parts.zoo.load("runs/mine")
parts = segmenter.segment([sample.image for sample in photographs[:8]])
save_picture(contact_sheet([one.overlay() for one in parts]), "parts.png")
