"""What the models of tensorrtllm_backend 0.9.0 are called, take and give: its all_models, as data.

What nobody asks for here (LoRA, drafts, prompt tables) is left out; all of it is optional.
"""

from __future__ import annotations

# (name, type, dims, what else is said of it); tensors without a batch dimension are scalars to the engine
Tensor = tuple[str, str, str, str]
OPTIONAL = "optional: true"
_RAGGED = "allow_ragged_batch: true"
_SCALAR = "reshape: { shape: [ ] }"

# The ensemble's name of an input, and what preprocessing and the engine call it
FOR_PREPROCESSING = {
    "text_input": "QUERY",
    "max_tokens": "REQUEST_OUTPUT_LEN",
    "bad_words": "BAD_WORDS_DICT",
    "stop_words": "STOP_WORDS_DICT",
    "embedding_bias_words": "EMBEDDING_BIAS_WORDS",
    "embedding_bias_weights": "EMBEDDING_BIAS_WEIGHTS",
    "end_id": "END_ID",
    "pad_id": "PAD_ID",
}
SAMPLING = {
    "top_k": ("runtime_top_k", "INT32"),
    "top_p": ("runtime_top_p", "FP32"),
    "temperature": ("temperature", "FP32"),
    "length_penalty": ("len_penalty", "FP32"),
    "repetition_penalty": ("repetition_penalty", "FP32"),
    "min_length": ("min_length", "INT32"),
    "presence_penalty": ("presence_penalty", "FP32"),
    "frequency_penalty": ("frequency_penalty", "FP32"),
    "random_seed": ("random_seed", "UINT64"),
    "return_log_probs": ("return_log_probs", "BOOL"),
    "return_context_logits": ("return_context_logits", "BOOL"),
    "return_generation_logits": ("return_generation_logits", "BOOL"),
    "beam_width": ("beam_width", "INT32"),
    "stream": ("streaming", "BOOL"),
}
PREPROCESSED = {
    "INPUT_ID": "input_ids",
    "REQUEST_INPUT_LEN": "input_lengths",
    "REQUEST_OUTPUT_LEN": "request_output_len",
    "BAD_WORDS_IDS": "bad_words_list",
    "STOP_WORDS_IDS": "stop_words_list",
    "EMBEDDING_BIAS": "embedding_bias",
    "OUT_END_ID": "end_id",
    "OUT_PAD_ID": "pad_id",
}
# The engine's name of an output, what postprocessing takes it as, gives it as, and the ensemble's name
GENERATED = (
    ("output_ids", "TOKENS_BATCH", "OUTPUT", "text_output"),
    ("sequence_length", "SEQUENCE_LENGTH", None, None),
    ("cum_log_probs", "CUM_LOG_PROBS", "OUT_CUM_LOG_PROBS", "cum_log_probs"),
    ("output_log_probs", "OUTPUT_LOG_PROBS", "OUT_OUTPUT_LOG_PROBS", "output_log_probs"),
    ("context_logits", "CONTEXT_LOGITS", "OUT_CONTEXT_LOGITS", "context_logits"),
    ("generation_logits", "GENERATION_LOGITS", "OUT_GENERATION_LOGITS", "generation_logits"),
)
PROBABILITIES: tuple[Tensor, ...] = (
    ("cum_log_probs", "FP32", "-1", ""),
    ("output_log_probs", "FP32", "-1, -1", ""),
    ("context_logits", "FP32", "-1, -1", ""),
    ("generation_logits", "FP32", "-1, -1, -1", ""),
)
TEXT_INPUTS: tuple[Tensor, ...] = (
    ("text_input", "STRING", "-1", ""),
    ("max_tokens", "INT32", "-1", ""),
    ("bad_words", "STRING", "-1", OPTIONAL),
    ("stop_words", "STRING", "-1", OPTIONAL),
    ("embedding_bias_words", "STRING", "-1", OPTIONAL),
    ("embedding_bias_weights", "FP32", "-1", OPTIONAL),
    ("end_id", "INT32", "1", OPTIONAL),
    ("pad_id", "INT32", "1", OPTIONAL),
)
ENGINE_INPUTS: tuple[Tensor, ...] = (
    ("input_ids", "INT32", "-1", _RAGGED),
    ("input_lengths", "INT32", "1", _SCALAR),
    ("request_output_len", "INT32", "1", ""),
    ("bad_words_list", "INT32", "2, -1", f"{OPTIONAL} {_RAGGED}"),
    ("stop_words_list", "INT32", "2, -1", f"{OPTIONAL} {_RAGGED}"),
    ("embedding_bias", "FP32", "-1", f"{OPTIONAL} {_RAGGED}"),
    ("end_id", "INT32", "1", f"{_SCALAR} {OPTIONAL}"),
    ("pad_id", "INT32", "1", f"{_SCALAR} {OPTIONAL}"),
    ("stop", "BOOL", "1", OPTIONAL),
    ("streaming", "BOOL", "1", OPTIONAL),
    *((name, kind, "1", f"{_SCALAR} {OPTIONAL}") for name, kind in SAMPLING.values() if name != "streaming"),
)
PREPROCESSED_OUTPUTS: tuple[Tensor, ...] = (
    ("INPUT_ID", "INT32", "-1", ""),
    ("REQUEST_INPUT_LEN", "INT32", "1", ""),
    ("REQUEST_OUTPUT_LEN", "INT32", "-1", ""),
    ("BAD_WORDS_IDS", "INT32", "2, -1", ""),
    ("STOP_WORDS_IDS", "INT32", "2, -1", ""),
    ("EMBEDDING_BIAS", "FP32", "-1", ""),
    ("OUT_END_ID", "INT32", "-1", ""),
    ("OUT_PAD_ID", "INT32", "-1", ""),
)
ENGINE_OUTPUTS: tuple[Tensor, ...] = (
    ("output_ids", "INT32", "-1, -1", ""),
    ("sequence_length", "INT32", "-1", ""),
    *PROBABILITIES,
)
POSTPROCESSED_INPUTS: tuple[Tensor, ...] = (
    ("TOKENS_BATCH", "INT32", "-1, -1", ""),
    ("SEQUENCE_LENGTH", "INT32", "-1", ""),
    *((name.upper(), kind, dims, OPTIONAL) for name, kind, dims, _ in PROBABILITIES),
)
POSTPROCESSED_OUTPUTS: tuple[Tensor, ...] = (
    ("OUTPUT", "STRING", "-1", ""),
    *((f"OUT_{name.upper()}", kind, dims, "") for name, kind, dims, _ in PROBABILITIES),
)
ENSEMBLE_INPUTS: tuple[Tensor, ...] = (
    *TEXT_INPUTS,
    *((name, kind, "1", OPTIONAL) for name, (_, kind) in SAMPLING.items()),
)
ENSEMBLE_OUTPUTS: tuple[Tensor, ...] = (("text_output", "STRING", "-1", ""), *PROBABILITIES)
