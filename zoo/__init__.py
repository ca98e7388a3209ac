"""Trained segmenters: `load("toy")` by name, `load(folder)`, or `load(address, trust=True)`.

A model is a *card* (JSON, checked against a schema), a configuration and arrays of floats: nothing
of it is ever executed. The card says what every file must be, and no file is opened before it has
been compared with it. Listing imports no Keras.

Environment variables: KERAS_PARTS_HOME is the folder to keep downloads in; KERAS_PARTS_ZOO names
folders or addresses with further models, or with copies of the files; KERAS_PARTS_OFFLINE=1 asks
no address; HTTPS_PROXY and the like are heeded.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
