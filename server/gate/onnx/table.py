"""What an ONNX file may hold: the fields that are read, the operators, the kinds of numbers.

Field numbers are those of onnx.proto (onnx 1.23). What is left out on purpose: training, functions,
sparse tensors and devices.
"""

from server.gate.onnx.protobuf import Field, Schema

_MANY = "*"


def _fields(text: str) -> dict[int, Field]:
    """Read ``number name kind`` groups; a star after the kind allows several."""
    found = {}
    for group in text.split(";"):
        number, name, kind = group.split()
        found[int(number)] = Field(name, kind.rstrip(_MANY), kind.endswith(_MANY))
    return found


SCHEMA: Schema = {
    "Model": _fields(
        "1 ir_version int; 8 opset_import Opset*; 2 producer_name text; 3 producer_version text;"
        "4 domain text; 5 model_version int; 6 doc_string text; 7 graph Graph; 14 metadata Pair*"
    ),
    "Graph": _fields(
        "1 node Node*; 2 name text; 5 initializer Tensor*; 10 doc_string text; 11 input Value*;"
        "12 output Value*; 13 value_info Value*; 14 quantization span*; 16 metadata Pair*"
    ),
    "Node": _fields(
        "1 input text*; 2 output text*; 3 name text; 4 op_type text; 5 attribute Attribute*;"
        "6 doc_string text; 7 domain text; 9 metadata Pair*"
    ),
    "Attribute": _fields(
        "1 name text; 2 f float; 3 i int; 4 s span; 5 t Tensor; 6 g Graph; 7 floats floats*;"
        "8 ints ints*; 9 strings span*; 10 tensors Tensor*; 11 graphs Graph*; 13 doc_string text;"
        "20 type int"
    ),
    "Tensor": _fields(
        "1 dims ints*; 2 data_type int; 4 float_data span*; 5 int32_data span*;"
        "7 int64_data span*;"
        "8 name text; 9 raw_data span; 10 double_data span*; 11 uint64_data span*;"
        "12 doc_string text; 13 external_data Pair*; 14 data_location int; 16 metadata Pair*"
    ),
    "Value": _fields("1 name text; 2 type Type; 3 doc_string text; 4 metadata Pair*"),
    "Type": _fields("1 tensor TensorType; 6 denotation text"),
    "TensorType": _fields("1 elem_type int; 2 shape Shape"),
    "Shape": _fields("1 dim Dim*"),
    "Dim": _fields("1 value int; 2 param text; 3 denotation text"),
    "Opset": _fields("1 domain text; 2 version int"),
    "Pair": _fields("1 key text; 2 value text"),
}
# kinds of numbers that a model may hold: their code and their width in bits
BITS = {
    **{1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64},
    **{16: 16, 17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4},
}
FLOAT, INT64 = 1, 7
GRAPH, GRAPHS = 5, 10

_PLAIN = (
    "Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh Attention AveragePool "
    "BatchNormalization BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor BlackmanWindow Cast "
    "CastLike Ceil Celu CenterCropPad Clip Compress Concat Constant ConstantOfShape Conv "
    "ConvInteger ConvTranspose Cos Cosh CumSum DFT DepthToSpace DequantizeLinear Det Div Dropout "
    "DynamicQuantizeLinear Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor GRU Gather "
    "GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool Greater "
    "GreaterOrEqual GridSample GroupNormalization HammingWindow HannWindow HardSigmoid HardSwish "
    "Hardmax Identity InstanceNormalization IsInf IsNaN LRN LSTM LayerNormalization LeakyRelu "
    "Less LessOrEqual Log LogSoftmax LpNormalization LpPool MatMul MatMulInteger Max MaxPool Mean "
    "MeanVarianceNormalization MelWeightMatrix Min Mish Mod Mul Neg Not OneHot Or PRelu Pad Pow "
    "QLinearConv QLinearMatMul QuantizeLinear RMSNormalization RNN Range Reciprocal ReduceL1 "
    "ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum "
    "ReduceSumSquare Relu Reshape Resize ReverseSequence RotaryEmbedding Round STFT "
    "ScatterElements ScatterND Selu Shape Shrink Sigmoid Sign Sin Sinh Size Slice Softmax "
    "Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Swish Tan Tanh ThresholdedRelu "
    "Tile TopK Transpose Trilu Unsqueeze Upsample Where Xor"
)
_CLASSIC = (
    "ArrayFeatureExtractor Binarizer Imputer LinearClassifier LinearRegressor Normalizer "
    "SVMClassifier SVMRegressor Scaler TreeEnsembleClassifier TreeEnsembleRegressor"
)
OPERATORS = {
    "": frozenset(_PLAIN.split()),
    "ai.onnx": frozenset(_PLAIN.split()),
    "ai.onnx.ml": frozenset(_CLASSIC.split()),
}
CONTROL = frozenset({"If", "Loop", "Scan"})
# operators that give out more than they take, by which of their inputs says how much
SIZES = {"ConstantOfShape": 0, "Expand": 1, "Reshape": 1, "Pad": 1, "Range": 1, "Resize": 3}
FACTORS = {"Tile": 1, "Resize": 2, "Upsample": 1}
