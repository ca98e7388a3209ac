"""The zoo of trained segmenters: list, load, verify, pack and publish them.

A model is a *card* (JSON, checked against a schema), a configuration and arrays of floats; no code
comes with it and none is executed. The card states the size and checksum of every file, and each
file is compared with it before it is opened. Listing the models imports no Keras.

Environment variables: KERAS_PARTS_HOME is the folder for downloads; KERAS_PARTS_ZOO names folders
or addresses with further models or copies of the files; KERAS_PARTS_OFFLINE=1 forbids network
requests. Proxies are set with HTTPS_PROXY and the like.

Errors are in `keras_parts.errors`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
