"""Find the photographs whose part looks most like the same part of another photograph.

Needs `photos/`. Each part of an image is described by the mean of the network's features over it;
the search compares these descriptors by their cosine.
"""

# %% Segment the photographs, with a descriptor for each part
import numpy as np

import keras_parts
from keras_parts import data
from keras_parts.models import create_predictor

segmenter = keras_parts.zoo.load("toy")
predictor = create_predictor(segmenter, descriptors=True)
photographs = data.load("folder", "all", data_dir="photos")
found = [predictor.segment(sample.image) for sample in photographs]

# %% Descriptors (photographs, parts, channels), relative to the mean of each part, of length 1
descriptors = np.stack([parts.descriptors for parts in found])
is_shown = np.stack([parts.areas > 0 for parts in found])  # (photographs, parts)
descriptors -= descriptors.mean(axis=0, keepdims=True)
descriptors /= np.linalg.norm(descriptors, axis=-1, keepdims=True) + 1e-7

# %% Photographs in the order of their similarity to one of them, by one part
QUERY, PART = 0, 1
similarity = descriptors[:, PART - 1] @ descriptors[QUERY, PART - 1]
similarity[~is_shown[:, PART - 1]] = -1
ranking = np.argsort(-similarity)
for index in ranking[:5]:
    print(f"{photographs.ids()[index]}: {similarity[index]:.2f}")

# %% A picture of the ranking, the query first
from keras_parts.results import contact_sheet, save_picture

overlays = [found[index].overlay(names=False, legend=False) for index in ranking[:8]]
save_picture(contact_sheet(overlays, columns=4), "ranking.png")
