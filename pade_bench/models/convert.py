"""Giving an existing network other activations."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from pade_bench.activations import PAU
from pade_bench.activations.factory import ActivationFactory, activation_factory
from pade_bench.activations.matching import Function, Start
from pade_bench.errors import ConfigurationError, did_you_mean
from pade_bench.models.calls import (
    Hidden,
    calls_of_children,
    hidden_activations,
    holds_a_function,
    in_lines,
)
from pade_bench.models.layers import channel_multiplier
from pade_bench.models.recognize import is_activation
from pade_bench.models.snapshot import Snapshot
from pade_bench.models.units import arriving, chosen_init, start_unit, unit_like
from pade_bench.models.watch import watch


@dataclass(frozen=True)
class Replacement:
    """One activation that was replaced."""

    name: str  # of the module in the network, "features.0.2"
    was: str  # what stood there, "ReLU6(inplace=True)"
    calls: int  # how often the network's code calls it; more than one call shares one activation
    start: Start | None = None  # of a Padé unit: its coefficients, and the error of these
    init: str = ""  # and the function from which that is

    def __str__(self) -> str:
        """Return it in a line."""
        shared = f", one for {self.calls} calls" if self.calls > 1 else ""
        within = ""
        if (s := self.start) is not None:
            within = f", within {s.error:.2g} of {self.init} on [{s.low:.3g}, {s.high:.3g}]"
        return f"{self.name}: {self.was}{shared}{within}"


class Conversion(list[Replacement]):
    """What was replaced, in the order of the network's modules.

    Attributes:
        verified: whether the network was run, and nothing but the new units acted as an activation.
        proof: the same in a line, with what to call where it was not run.
    """

    verified = False
    proof = ""

    def __str__(self) -> str:
        """Return a line for each replacement, and the proof."""
        return "\n".join([*map(str, self), self.proof])

    __repr__ = __str__


@dataclass
class _Place:
    """A place in the network where an activation stands, and what comes to stand there."""

    name: str
    parent: nn.Module
    attribute: str
    old: Any  # a module; or a function, see holds_a_function
    new: nn.Module


def convert_activations(
    model: nn.Module,
    activation: str | Mapping[str, Any] | ActivationFactory,
    init: str | Function | None = None,
    example_input: Any = None,
    inputs: Iterable[Any] | None = None,
    *,
    ignore: Collection[str] = (),
) -> Conversion:
    """Replace the activations of ``model`` in place, each by a new one of its own.

    What counts as an activation is a module of torch's rectifying kinds (ReLU, ELU, SiLU, GELU …),
    timm's, Hugging Face's, this package's, and any module without parameters that is named like
    one. Gates (Sigmoid, Tanh, Hardsigmoid, Softmax) are left as they are. Where the network's code
    calls one module in several places, as torchvision's ResNet does within a block, these places
    go on sharing one. A new unit gets the mode and the hooks of the old one, and the device and
    type of the layer before it.

    A Padé unit starts from the function that it replaces, so that a trained network keeps what it
    knows: see :mod:`pade_bench.activations.matching` for what is fitted, and each result's
    ``start`` for the largest error. (A slope for each channel, as PReLU may have, becomes the mean
    of these.)

    The network's Python code is read for activations called as functions, ``F.relu(x)``. Code does
    not show everything, so with ``example_input`` the converted network is also run, once in
    training mode and once in evaluation mode without gradients, while every operator is watched:
    relu, gelu, silu … wherever they are called from, fused ones such as the transformer layer's,
    and ``clamp`` or ``maximum`` where they are max(0, x) or min(max(0, x), 6). That takes the time
    and memory of two forward passes, of three where Padé units match, and once more the memory of
    the parameters; afterwards the network's statistics, modes, attributes and all random generators
    are as before. What is composed of comparisons and products, ``x * (x > 0)``, neither way can
    tell.

    Args:
        model: any network.
        activation: see :func:`pade_bench.build_model`.
        init: what Padé units start from: ``"match"``, or as for :class:`pade_bench.PAU` the same
            function for all of them. Without it they match where ``activation`` says no ``init``:
            ``"pau"``, ``"rpau"``, the class itself, or a mapping without one.
        example_input: what to call the network with: a tensor, or a tuple of positional or a
            mapping of keyword arguments, on its device; a batch of at least two where there is
            batch norm. Its values are not changed. Units that match a function with a kink at 0,
            such as ReLU, are fitted for inputs of the size that it makes arrive, in the mode that
            the network is in.
        inputs: batches, as a DataLoader gives them, on which units are to match best. The first 16
            are run through the network in evaluation mode to see what arrives at each activation.
            Of a list or tuple the first entry is the network's input; a mapping holds its keyword
            arguments. They are moved to the network's device.
        ignore: what is to stay as it is on purpose: names of modules, with all that is in them
            (``"classifier"``), and places of calls as a refusal lists them (``"densenet.py:213"``).

    Returns:
        what was replaced, and whether that was verified.

    Raises:
        ConfigurationError: there is no activation to replace; or some cannot be, all of which are
            listed by file and line; or the code cannot be read and there is no ``example_input``;
            or the network fails on it, or new units never run in it; or an entry of ``ignore``
            stands for nothing; or ``init`` or ``inputs`` is given and the units start from no
            function, or cannot match what stands there; or ``activation`` is unknown, or takes
            another number of channels than it returns (Maxout). The network is then left as it was.
    """
    factory = activation_factory(activation)
    unit = factory()
    if (k := channel_multiplier(unit)) != 1:
        raise ConfigurationError(
            f"activation takes {k} channels for each one that it returns: an existing network "
            "cannot be widened. Build one of pade_bench's own networks with it."
        )
    init = chosen_init(init, activation, unit)
    if inputs is not None and init != "match":
        raise ConfigurationError("inputs: only units with init='match' are fitted to them.")
    ignored = _Ignore(ignore, model)
    hidden = [h for h in hidden_activations(model) if not ignored.covers(h)]
    if example_input is None:
        _refuse(model, hidden)
    places = [
        _Place(name, parent, attribute, old, unit_like(factory, model, name, old))
        for name, parent, attribute, old in _find(model)
        if not ignored.covers_module(name)
    ]
    if not places:
        _refuse(model, hidden)
        raise ConfigurationError(
            f"{type(model).__name__} has no activation to replace; its modules are "
            f"{', '.join(sorted({type(m).__name__ for m in model.modules()}))}."
        )
    calls = {place.name: calls_of_children(place.parent)[place.attribute] for place in places}
    before = Snapshot(model)
    try:
        _put(places, model)
        if init is not None:
            _start(places, model, init, inputs, example_input)
        if example_input is not None:
            ran, runs = watch(model, example_input, {place.name: place.new for place in places})
            read = {h.place for h in hidden if h.place}
            ran = [h for h in ran if not ignored.covers(h) and h.place not in read]
            _refuse(model, [h for h in hidden if not h.unread] + ran)
            _refuse_unreached(model, [place for place in places if not runs[place.name]])
            calls = {name: calls[name] or runs[name] for name in calls}
        ignored.check_use()
    except BaseException:
        before.restore()
        raise
    # In a Sequential no code names it; there it is called once.
    done = Conversion(
        Replacement(p.name, _described(p.old), max(1, calls[p.name]), *_start_of(p.new))
        for p in places
    )
    done.verified = example_input is not None
    done.proof = (
        "verified: in training and in evaluation every new unit ran, and no other activation"
        if done.verified
        else "unverified, as the network was not run: convert_activations(…, example_input="
        f"{_fitting_input(model)}) runs it and refuses if any other activation is left"
    )
    return done


def _fitting_input(model: nn.Module) -> str:
    """Return an input that the network says it takes, as code, or else a name for one."""
    library, _, kind = type(model).__module__.partition(".models.")
    if library == "torchvision" and kind.count(".") == 0:
        side = 299 if kind == "inception" else 224
        return f"torch.randn(2, 3, {side}, {side})"
    settings = getattr(model, "pretrained_cfg", None)  # timm's
    if isinstance(settings, Mapping) and "input_size" in settings:
        return f"torch.randn(2, {', '.join(map(str, settings['input_size']))})"
    reads_text = getattr(model, "main_input_name", None) == "input_ids"  # Hugging Face's
    return "model.dummy_inputs" if reads_text else "x"


class _Ignore:
    """What is to be left alone, and which of it was met."""

    def __init__(self, entries: Collection[str], model: nn.Module) -> None:
        if isinstance(entries, str):
            raise ConfigurationError(f"ignore={entries!r} must be a list of names and places.")
        self._modules = {name for name, _ in model.named_modules(remove_duplicate=False)} - {""}
        self._entries, self._met = list(entries), set[str]()
        self._places: set[str] = set()

    def covers_module(self, name: str) -> bool:
        """Tell whether a module is, or is in, one of those to be ignored."""
        met = [e for e in self._entries if f"{name}.".startswith(f"{e}.")]
        self._met.update(met)
        return bool(met)

    def covers(self, hidden: Hidden) -> bool:
        """Tell whether a call is to be ignored."""
        self._places.add(hidden.place)
        met = [e for e in self._entries if f"/{hidden.place}".endswith(f"/{e}")]
        self._met.update(met)
        return bool(met) or self.covers_module(hidden.module)

    def check_use(self) -> None:
        """Refuse an entry that is neither a module nor a call that was found."""
        for entry in self._entries:
            if entry not in self._met | self._modules:
                known = {*self._modules, *(p.rpartition("/")[2] for p in self._places)}
                raise ConfigurationError(
                    f"ignore: {entry!r} is neither the name of a module nor the place of an "
                    f"activation that was found.{did_you_mean(entry, known)}"
                )


def _refuse(model: nn.Module, hidden: Iterable[Hidden]) -> None:
    if lines := in_lines(hidden):
        raise ConfigurationError(
            f"{type(model).__name__} has activations that are no modules of their own and cannot "
            "be replaced. Make each a module, called in forward, or name its module or place in "
            f"ignore=[…] to keep it:{lines}"
        )


def _refuse_unreached(model: nn.Module, places: Iterable[_Place]) -> None:
    if lines := "".join(f"\n  {place.name}: {_described(place.old)}" for place in places):
        raise ConfigurationError(
            f"{type(model).__name__} ran on example_input without these of the new units, which "
            "would never be trained. Give an input that reaches them, or name them in ignore=[…] "
            f"to leave what stood there:{lines}"
        )


def _find(model: nn.Module) -> Iterator[tuple[str, nn.Module, str, Any]]:
    """Yield (name, parent, attribute, activation) for every place that holds one."""
    for name, parent in model.named_modules():
        prefix = f"{name}." if name else ""
        # Not named_children(), which would name a shared module only once.
        for attribute, child in parent._modules.items():
            if child is not None and is_activation(child):
                yield prefix + attribute, parent, attribute, child
        if holds_a_function(parent):
            yield f"{prefix}activation", parent, "activation", parent.activation


def _put(places: Iterable[_Place], model: nn.Module) -> None:
    """Put the new units in their places and correct what modules remember of the old ones."""
    for place in places:
        setattr(place.parent, place.attribute, place.new)
        # Torch's transformer layers compute ReLU or GELU by themselves in evaluation mode if this
        # says 1 or 2, whatever the layer's activation is.
        if hasattr(place.parent, "activation_relu_or_gelu"):
            place.parent.activation_relu_or_gelu = 0  # type: ignore[assignment]
    for module in model.modules():
        # Padded sequences become nested tensors for the sake of that computation only.
        if hasattr(module, "use_nested_tensor") and any(
            getattr(layer, "activation_relu_or_gelu", 1) == 0 for layer in module.modules()
        ):
            module.use_nested_tensor = False  # type: ignore[assignment]


def _start(
    places: Iterable[_Place],
    model: nn.Module,
    init: str | Function,
    inputs: Iterable[Any] | None,
    example_input: Any,
) -> None:
    """Give the units in the network the coefficients to start with."""
    found = {}
    if init == "match":
        units = {p.name: (p.new, p.old) for p in places if isinstance(p.new, PAU)}
        found = arriving(model, units, inputs, example_input)
    for place in places:
        if isinstance(place.new, PAU):
            start_unit(place.new, init, place.name, place.old, found.get(place.name))


def _start_of(unit: nn.Module) -> tuple[Start, str] | tuple[()]:
    return (unit.start, unit.init) if isinstance(unit, PAU) else ()


def _described(old: Any) -> str:
    return repr(old) if isinstance(old, nn.Module) else getattr(old, "__name__", repr(old))
