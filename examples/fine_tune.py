"""Refine the parts of a trained model on photographs of your own, by its own features.

Needs `photos/` and `masks/` with files of the same names. The result has the parts of the model
that it starts from. No other weights are needed.
"""

# %% The model to start from, and the photographs
from keras_parts import data, zoo

MODEL = "toy"
print(MODEL, "has the parts", zoo.info(MODEL).part_names)
photographs = data.load("folder", "all", data_dir="photos", masks="masks")

# %% Start from its weights, with its backbone as the teacher
from keras_parts.training import recipe_for, train

STEPS = 120
settings = recipe_for(
    "folder",
    init_from=MODEL,
    teacher=f"zoo:{MODEL}",
    find_model=zoo.path,
    settings={"steps": STEPS},
)
train(settings, photographs, "runs/refined", overwrite=True)

# %% Before and after, side by side
from keras_parts.results import contact_sheet, save_picture

images = [sample.image for sample in photographs[:4]]
models = [zoo.load(name) for name in (MODEL, "runs/refined")]
overlays = [parts.overlay() for model in models for parts in model.segment(images)]
save_picture(contact_sheet(overlays, columns=len(images)), "before_and_after.png")
