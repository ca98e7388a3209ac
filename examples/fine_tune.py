"""Refine the parts of a trained model on photographs of your own, by its own features.

Needs `photos/` and `masks/` with files of the same names. The result has the parts of the model
that it starts from. No other weights are needed.
"""

# %% The model to start from, and the photographs
import keras_parts
from keras_parts import data

MODEL = "toy"
folder = str(keras_parts.zoo.path(MODEL))
card = keras_parts.zoo.info(MODEL)
photographs = data.load("folder", "all", data_dir="photos", masks="masks")
print(MODEL, "has the parts", card.part_names)

# %% Start from its weights, and take its backbone as the teacher
from keras_parts.training import recipe, train

STEPS = 120
settings = recipe(
    "toy",
    init_from=folder,
    num_parts=card.num_parts,
    teacher="segmenter",
    teacher_weights=folder,
    teacher_layers=(),
    steps=STEPS,
)
train(settings, photographs, "runs/refined", overwrite=True)

# %% Before and after, side by side
from keras_parts.results import contact_sheet, save_picture

images = [sample.image for sample in photographs[:4]]
models = [keras_parts.zoo.load(name) for name in (MODEL, "runs/refined")]
overlays = [parts.overlay() for model in models for parts in model.segment(images)]
save_picture(contact_sheet(overlays, columns=len(images)), "before_and_after.png")
