"""Training: recipes, optimisers, checkpoints, callbacks and the folder a run leaves behind.

Nothing is imported here, so that `keras_parts.training.recipes` costs a command line no Keras.
"""
