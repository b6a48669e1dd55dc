"""What a model inside another was compiled with: Keras builds that, though nothing is trained."""

from typing import Any

from server.gate import values
from server.gate.refusals import refused, shown

_MODULES = frozenset({"keras.optimizers", "keras.optimizers.schedules", "keras.losses"})
_MODULES |= {"keras.metrics", "builtins"}
_OPTIMIZERS = (
    "Adadelta Adafactor Adagrad Adam AdamW Adamax Ftrl Lamb Lion LossScaleOptimizer Muon Nadam "
    "RMSprop SGD ScheduleFreeAdamW CosineDecay CosineDecayRestarts ExponentialDecay "
    "InverseTimeDecay PiecewiseConstantDecay PolynomialDecay"
)
_LOSSES = (
    "BinaryCrossentropy BinaryFocalCrossentropy CTC CategoricalCrossentropy "
    "CategoricalFocalCrossentropy CategoricalGeneralizedCrossEntropy CategoricalHinge Circle "
    "CosineSimilarity Dice Hinge Huber KLDivergence LogCosh MeanAbsoluteError "
    "MeanAbsolutePercentageError MeanSquaredError MeanSquaredLogarithmicError Poisson "
    "SparseCategoricalCrossentropy SquaredHinge Tversky"
)
_METRICS = (
    "AUC Accuracy BinaryAccuracy BinaryIoU CategoricalAccuracy ConcordanceCorrelation F1Score "
    "FBetaScore FalseNegatives FalsePositives IoU LogCoshError Mean MeanIoU MeanMetricWrapper "
    "OneHotIoU OneHotMeanIoU PearsonCorrelation Precision PrecisionAtRecall R2Score Recall "
    "RecallAtPrecision RootMeanSquaredError SensitivityAtSpecificity SparseCategoricalAccuracy "
    "SparseTopKCategoricalAccuracy SpecificityAtSensitivity Sum TopKCategoricalAccuracy "
    "TrueNegatives TruePositives"
)
_CLASSES = frozenset(f"{_OPTIMIZERS} {_LOSSES} {_METRICS}".split())
_NAMES = (
    "binary_accuracy binary_crossentropy binary_focal_crossentropy categorical_accuracy "
    "categorical_crossentropy categorical_focal_crossentropy "
    "categorical_generalized_cross_entropy categorical_hinge circle concordance_correlation "
    "cosine_similarity ctc dice hinge huber kl_divergence log_cosh mean_absolute_error "
    "mean_absolute_percentage_error mean_squared_error mean_squared_logarithmic_error "
    "pearson_correlation poisson sparse_categorical_accuracy sparse_categorical_crossentropy "
    "sparse_top_k_categorical_accuracy squared_hinge top_k_categorical_accuracy tversky"
)
_FUNCTIONS = frozenset(_NAMES.split())


def check_training(value: Any, where: str) -> None:
    """Let pass optimizers, losses and metrics of Keras's own, at any depth.

    Raises
    ------
    BadModel
        If there is another object.
    """
    if isinstance(value, list):
        for item in value:
            check_training(item, where)
    elif isinstance(value, dict):
        if "class_name" in value:
            _check_object(value, where)
        for item in value.values():
            check_training(item, where)


def _check_object(value: dict[str, Any], where: str) -> None:
    kind = value["class_name"]
    if kind in ("__tuple__", "__numpy__", "__tensor__"):
        values.array(value, where)
        return
    if value.get("module") is None:
        raise _own(kind, where)
    values.check_envelope(value, _MODULES, where)
    found, known = (value.get("config"), _FUNCTIONS) if kind == "function" else (kind, _CLASSES)
    if not (isinstance(found, str) and found in known):
        raise _own(found, where)


def _own(name: Any, where: str) -> Exception:
    return refused(
        "custom-object",
        f"a model inside was compiled with {shown(str(name))!r}, which is not served: save it "
        "uncompiled",
        where=where,
    )
