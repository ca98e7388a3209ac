"""`toy`: imaginary animals, drawn by the program with exact masks, part labels and keypoints."""
