"""Build text models of KerasHub by name: tiny, with random weights and without a download.

The sizes follow from the parameters of a backbone's constructor, by their names. Parameters with default values keep
them, unless they are sizes that make a model large.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib.util
import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any

from maskcli.errors import ModelError, UsageError, suggest_install
from maskcli.models.files import TRACEBACK, explain_error, make_displayable
from maskcli.models.limits import bound_weights
from maskcli.models.runtime import load_keras, quiet_stdout, seed_generators

HUB = "kerashub:"
"""The prefix of a model of KerasHub; no module can have this name."""
SMALLEST_VOCABULARY = 8
"""Ids: 0 for padding, and some for the special tokens that models have."""
LAYERS = 2
"""Two layers show whether a mask reaches the second one."""
_SIZES: tuple[tuple[str, Any], ...] = (
    (r"layer_types$", ["full_attention"] * LAYERS),
    (r"layer_enabled_list$", [True] * LAYERS),
    (r"num_(\w+_)?layers(_\w+)?$", LAYERS),
    (r"num_key_value_heads$", 1),
    (r"(key_heads|value_heads)$", 2),
    (r"num_(\w+_)?heads$", 2),
    (r"num_experts$", 2),
    (r"(^top_k|experts_per_token)$", 1),
    (r"head_(dim|size)$", 8),
    (r"_lora$", 4),
    (r"moe_intermediate|expert_intermediate", 8),
    (r"intermediate_(dim|size)$", 32),
    (r"^(\w+_)?(hidden|embedding)_(dim|size)$", 16),
    (r"size_per_layer_input$", 2),
    (r"(laurel_rank|altup_num_inputs)$", 2),
    (r"sliding_window(_size)?$", 16),
    (r"bucket_size$", 8),
    (r"image_size$", 16),
    (r"max_(sequence_length|position_embeddings)$", 64),
    (r"epsilon$|_eps$", 1e-6),
    (r"rope_theta$|wavelength$", 10_000.0),
    (r"factor$", 1.0),
    (r"dropout", 0.0),
    (r"(_|^)(bias|use_\w+)$", False),
    (r"activation$", "gelu_approximate"),
    (r"pad_token_id$", 0),
    (r"^num_", 2),
)
"""Values of parameters that a constructor requires, by their names; the first pattern that fits counts."""
_SHRUNK = re.compile(r"^(linear_(num_)?(key|value)_(heads|head_dim)|linear_num_\w+|\w+_lora|bucket_size)$")
"""Parameters whose default values make a model large."""
_VOCABULARY = re.compile(r"(^|_)vocab(ulary)?_size(_|$)")
_LENGTH = re.compile(r"max_(sequence_length|position_embeddings)$")


@dataclasses.dataclass(frozen=True)
class HubModel:
    """A backbone of KerasHub, or one of its tasks.

    Attributes:
        name: as users write it, such as ``bert_text_classifier``.
        backbone: the class of the backbone.
        task: the class of the task; None for the backbone itself.
    """

    name: str
    backbone: Any
    task: Any

    def build(self, vocabulary_size: int, timesteps: int, settings: Mapping[str, Any], seed: int) -> Any:
        """Return the model.

        Args:
            vocabulary_size: ids that it looks up.
            timesteps: of the data; its positions reach as far.
            settings: parameters of the backbone or the task that the user chose.
            seed: of the weights.

        Raises:
            UsageError: for a parameter that neither has.
            ModelError: for a model that cannot be built with these sizes.
        """
        load_keras()
        owners = [owner for owner in (self.backbone, self.task) if owner is not None]
        accepted = [name for owner in owners for name in _list_parameters(owner)]
        for name in settings:
            if name not in accepted:
                raise _make_parameter_error(name, f"{HUB}{self.name}", accepted)
        seed_generators(seed)
        try:
            with quiet_stdout(), bound_weights(f"{HUB}{self.name}"):
                backbone = self.backbone(**_choose_settings(self.backbone, vocabulary_size, timesteps, settings))
                if self.task is None:
                    return backbone
                fixed = {"backbone": backbone, "preprocessor": None, **settings}
                return self.task(**_choose_settings(self.task, vocabulary_size, timesteps, fixed))
        except (UsageError, ModelError):
            raise
        except Exception as error:
            raise ModelError(
                where=f"{HUB}{self.name}",
                expected="a model that KerasHub builds with small sizes",
                received=explain_error(error),
                fix=f"Set its sizes: --model-arg NAME=VALUE, with {', '.join(accepted[:6])} and so on. {TRACEBACK}",
            ) from error


def find_hub_model(spec: str) -> HubModel:
    """Return the model that ``kerashub:NAME`` names, in any spelling: ``bert``, ``BertTextClassifier``.

    Raises:
        ModelError: if keras-hub is not installed.
        UsageError: for a name that is not that of a text model.
    """
    name = spec.removeprefix(HUB)
    if importlib.util.find_spec("keras_hub") is None:
        raise ModelError(
            where=f"--model {make_displayable(spec)}",
            expected="keras-hub, which has this model",
            received="an environment without it",
            fix=f"{suggest_install('hub')}.",
        )
    load_keras()
    with quiet_stdout():
        from keras_hub import models
    by_name = {_normalize(model.name): model for model in _list_text_models(models)}
    wanted = _normalize(name)
    if wanted.removesuffix("backbone") in by_name:
        return by_name[wanted.removesuffix("backbone")]
    others = {_normalize(key) for key, value in vars(models).items() if isinstance(value, type)}
    is_other = wanted in others or f"{wanted}backbone" in others
    similar = [] if is_other else difflib.get_close_matches(wanted, by_name, n=3)
    names = ", ".join(sorted(model.name for model in by_name.values() if model.task is None))
    suggestion = ", ".join(by_name[key].name for key in similar)
    raise UsageError(
        where=f"--model {make_displayable(spec)}",
        expected="a text model of KerasHub",
        received=f"{make_displayable(name)}, which takes more than ids" if is_other else repr(make_displayable(name)),
        fix=f"Did you mean {suggestion}?" if similar else f"Its backbones are {names}.",
    )


def _list_text_models(models: Any) -> Iterator[HubModel]:
    """Yield the backbones of text, and their tasks."""
    classes = {name: value for name, value in vars(models).items() if isinstance(value, type)}
    tasks = [task for task in classes.items() if issubclass(task[1], models.Task)]
    for name, backbone in classes.items():
        if not (issubclass(backbone, models.Backbone) and name.endswith("Backbone") and _takes_text(backbone)):
            continue
        stem = name.removesuffix("Backbone")
        if stem:
            yield HubModel(_split_words(stem), backbone, None)
    for name, task in tasks:
        of_task = getattr(task, "backbone_cls", None)
        if isinstance(of_task, type) and _takes_text(of_task):
            yield HubModel(_split_words(name), of_task, task)


def _takes_text(backbone: Any) -> bool:
    """Return whether a backbone takes ids of text only: it needs a vocabulary, and no encoder of images or sound."""
    required = [
        parameter.name
        for parameter in inspect.signature(backbone.__init__).parameters.values()
        if parameter.default is parameter.empty
    ]
    other = re.compile(r"image_encoder|image_shape|vit_|patch|filter_dim|vision_encoder$|_mels|num_frames")
    has_mels = "num_mels" in inspect.signature(backbone.__init__).parameters
    return any(map(_VOCABULARY.search, required)) and not any(map(other.search, required)) and not has_mels


def _list_parameters(owner: Any) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(owner.__init__).parameters.values()
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {item.name: item for item in parameters if item.name != "self" and item.kind not in variadic}


def _choose_settings(owner: Any, vocabulary_size: int, timesteps: int, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a constructor: those of the user, and small sizes for the others."""
    chosen: dict[str, Any] = {}
    for name, parameter in _list_parameters(owner).items():
        is_required = parameter.default is parameter.empty
        if name in settings:
            chosen[name] = settings[name]
        elif is_required and _VOCABULARY.search(name):
            chosen[name] = vocabulary_size
        elif _LENGTH.search(name):
            default = 0 if is_required else int(parameter.default)
            chosen[name] = max(default, timesteps)
        elif is_required or _SHRUNK.search(name):
            size = _find_size(owner, name)
            chosen[name] = [size] * LAYERS if _is_list(owner, name) and not isinstance(size, list) else size
    return chosen


def _is_list(owner: Any, name: str) -> bool:
    """Return whether the documentation of a class describes a parameter as a list, with an entry for each layer."""
    return re.search(rf"\b{name}: .{{0,12}}\b[Ll]ist\b", inspect.getdoc(owner) or "") is not None


def _find_size(owner: Any, name: str) -> Any:
    for pattern, value in _SIZES:
        if re.search(pattern, name):
            return value
    raise UsageError(
        where=f"{owner.__name__}",
        expected=f"a value of {name}, which has no default",
        received="none",
        fix=f"Set it: --model-arg {name}=VALUE.",
    )


def _make_parameter_error(name: str, model: str, accepted: list[str]) -> UsageError:
    similar = difflib.get_close_matches(name, accepted, n=1)
    fix = f"Did you mean {similar[0]}?" if similar else f"It takes {', '.join(accepted)}."
    return UsageError(where=f"--model-arg {name}", expected=f"a parameter of {model}", received=repr(name), fix=fix)


def _normalize(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _split_words(name: str) -> str:
    """Return ``bert_text_classifier`` for ``BertTextClassifier``; abbreviations such as GPT2 stay together."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])|(?<=[a-z])(?=[A-Z]{2})", "_", name).lower()
