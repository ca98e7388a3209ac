"""What the steps of all backends share: named losses, their total, their averages, what to undo."""

from collections.abc import Mapping, Sequence

import keras
from keras import ops


class NamedLosses:
    """Mixin for a `keras.Model` that is trained on a table of named losses.

    The model calls `track_losses` in its constructor and implements `compute_losses`; it must be
    built before `fit`. Batches are whatever `compute_losses` takes, usually a dict of arrays; a
    generator given to `fit` yields them as a tuple of one, `(batch,)`.

    Attributes:
        loss_weights: {name: weight}.
        loss_metrics: {name: keras.metrics.Mean}, averages of the unweighted losses.
        skipped_steps: keras.metrics.Sum, steps of the epoch that were not finite.
    """

    def track_losses(self, weights: Mapping[str, float]) -> None:
        """Declare the losses and their weights. A loss of weight 0 is reported, not trained on."""
        self.loss_weights = {name: float(weight) for name, weight in weights.items()}
        self.loss_metrics = {name: keras.metrics.Mean(name=name) for name in weights}
        self.skipped_steps = keras.metrics.Sum(name="skipped_steps")

    def compute_losses(self, batch, training: bool) -> dict:
        """The hook: {name: scalar float32 tensor}, unweighted, for the names in `loss_weights`."""
        raise NotImplementedError

    def test_step(self, data):
        batch, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        losses, total, updates = self._run_losses(batch, training=False)
        finite = ops.isfinite(total)
        updates.release(finite)
        self._update_metrics(losses, total, finite, batch)
        return self.get_metrics_result()

    def _run_losses(self, batch, training, state=None):
        """Losses, weighted total and the scope that holds back what was assigned on the way."""
        if state is None:
            state = [(v, v) for v in self.trainable_variables]
        with HeldBack(state, collect_losses=True) as scope:
            losses = {
                name: ops.cast(loss, "float32")
                for name, loss in self.compute_losses(batch, training).items()
            }
            total = self._total(losses)
        return losses, total, scope

    def _total(self, losses):
        if losses.keys() != self.loss_weights.keys():
            raise ValueError(
                f"compute_losses returned {sorted(losses)}, "
                f"track_losses declared {sorted(self.loss_weights)}"
            )
        for name, loss in losses.items():
            if len(loss.shape):
                raise ValueError(f"loss {name!r} is not a scalar, it has shape {loss.shape}")
        total = sum(w * losses[name] for name, w in self.loss_weights.items() if w)
        return total + sum(ops.cast(ops.sum(extra), "float32") for extra in self.losses)

    def _update_metrics(self, losses, total, finite, batch):
        """Average the losses over samples, as Keras does, but leave a skipped step out."""
        batch_size = ops.shape(keras.tree.flatten(batch)[0])[0]
        samples = ops.cast(finite, "float32") * ops.cast(batch_size, "float32")
        trackers = {"loss": self._loss_tracker, **self.loss_metrics}
        for name, value in {"loss": total, **losses}.items():
            trackers[name].update_state(ops.where(finite, value, 0.0), sample_weight=samples)
        self.skipped_steps.update_state((1.0 - ops.cast(finite, "float32")) / self._replicas)

    _replicas = 1  # metrics and gradients are summed over these

    @property
    def _scales_loss(self):
        """Whether mixed_float16's dynamic loss scaling is on.

        The scaler must see a step that is not finite, to lower its scale, and skips it by itself.
        """
        return isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer)


class HeldBack(keras.StatelessScope):
    """Holds back assignments to variables, so that the step can decide whether they happen."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.assigned = {}

    def add_update(self, update):
        super().add_update(update)
        self.assigned[id(update[0])] = update[0]

    def release(self, finite):
        """Carry the assignments out if `finite`, a scalar bool tensor."""
        for variable in self.assigned.values():
            new = self.get_current_value(variable)
            variable.assign(new_if(finite, variable, new, variable.value))


def new_if(finite, variable, new, old):
    """What a variable holds after the forward pass: its new value if `finite`, else its old one.

    A seed moves on even so: had a random draw been the cause, it would come again for ever.
    """
    return new if is_seed(variable) else ops.where(finite, new, old)


def is_seed(variable: keras.Variable) -> bool:
    """Whether the variable is the state of a `keras.random.SeedGenerator`."""
    return variable.name == "seed_generator_state"


def all_finite(loss, gradients: Sequence):
    """Scalar bool tensor: the loss and every element of every gradient (None is passed over)."""
    tensors = [loss, *(g for g in gradients if g is not None)]
    return ops.all(ops.stack([ops.all(ops.isfinite(tensor)) for tensor in tensors]))


def mark(gradients: Sequence, finite) -> list:
    """Gradients with a NaN among them unless `finite`: a loss scaler looks at nothing else."""
    gradients = list(gradients)
    first = next(i for i, gradient in enumerate(gradients) if gradient is not None)
    gradients[first] = ops.where(finite, gradients[first], float("nan"))
    return gradients
