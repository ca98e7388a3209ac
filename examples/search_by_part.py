"""Find the photographs whose part looks most like the same part of another photograph.

Needs `photos/`. `keras-parts search` does the same, and writes a page with the matches.
"""

# %% Segment the photographs, with a descriptor for each part
from keras_parts import data, inference, models, zoo

segmenter = zoo.load("toy")
predictor = models.create_predictor(segmenter, descriptors=True)
inference.segment_files(predictor, ["photos"], "photos-parts", ["descriptors-npy"])

# %% The photographs in the order of their similarity to one of them, by the first part of it
index = inference.PartIndex("photos-parts")
predictor = index.predictor(segmenter)
query = predictor.segment(data.load("folder", "all", data_dir="photos")[0].image)
part = query[query.present[0]]
matches = index.search(query, part.label, top=8)
for match in matches:
    print(f"{match.image}: {match.similarity:.2f}")

# %% A picture of them, each cut out around the part
from keras_parts.images import read_image
from keras_parts.results import contact_sheet, save_picture

crops = []
for match in matches:
    image = read_image(index.file(match.image).path)
    found = predictor.segment(image).objects[match.object - 1]
    crops.append(image[found[part.label].window])
captions = [f"{match.similarity:.2f}" for match in matches]
save_picture(contact_sheet(crops, columns=4, captions=captions), "matches.png")
