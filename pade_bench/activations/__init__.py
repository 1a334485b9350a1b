"""Activation functions: the paper's baselines, some later ones, and the Padé units.

An activation is an ``nn.Module`` that maps a tensor to one of the same shape and type, element by
element; learnable ones have one set of parameters per layer. ``configs/activation/NAME.yaml`` gives
it a name: a class (``_target_``) and its arguments, headed by its formula and paper. Fixed ones are
torch's own classes.

To add one, write a class and such a file, nothing else. The class may live outside of this
package: ``activation._target_=my_package.MyActivation`` is enough.

- A network calls a factory, any callable without arguments that returns a new module, once for
  each of its layers.
- An activation that takes k neighboring channels (dimension 1) for each one that it returns, as
  ``Maxout`` does, has an attribute ``channel_multiplier = k``; the layer before it is then k
  times as wide.
- Its constructor leaves the random generator alone, so that every activation is compared on
  the same initial weights.

``check_activation`` tries a module before it is trained.
"""

from pade_bench.activations.check import check_activation
from pade_bench.activations.groups import parameter_groups
from pade_bench.activations.learnable import APL, SLAF, Mixture, SReLU
from pade_bench.activations.maxout import Maxout
from pade_bench.activations.pade import PAU, RPAU

__all__ = [
    "APL", "PAU", "RPAU", "SLAF", "Maxout", "Mixture", "SReLU", "check_activation",
    "parameter_groups",
]  # fmt: skip
