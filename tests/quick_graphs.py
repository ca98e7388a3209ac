"""No optimisation of TensorFlow's graphs, which takes longer than the tests run them.

Importing this module turns it off in this process.
"""

import keras

if keras.config.backend() == "tensorflow":
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
