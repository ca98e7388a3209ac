"""What `PartDiscovery` and the recipe "default" do by default; imports no Keras."""

from keras_parts.discovery.transforms import ViewTransforms

LOSS_WEIGHTS = {
    "feature_consistency": 5.0,
    # Within a bird, Lab colours vary by about 300 squared units, the teacher features by 1.
    "visual_consistency": 0.0033,
    "contrastive": 0.75,
    "equivariance": 6.0,
    "foreground": 1.0,
    "balance": 0.25,
    # 0 unless a part has become empty.
    "presence": 1.0,
    "clusters": 5.0,
}
"""Loss name -> weight, for teacher features that are standardised."""
LOSS_SIZE = 65
"""Side in pixels of the maps from which losses are computed."""
VIEW_TRANSFORMS = ViewTransforms(rotation=45.0, scale=(0.6, 1.4), bend=0.05, mirror=0.5)
CENTRE_FEATURES = True
PROMINENCE_EXPONENT = 3.0
