"""llama.cpp, through the C functions that the package llama-cpp-python exports."""

import numpy as np
from peer import N_THREADS, Peer

MAX_BATCH = 32  # texts in a batch
N_CTX_BATCH = 256  # tokens of each text in a batch; llama.cpp reserves no less


class LlamaCpp(Peer):
    engine = "llama.cpp"
    packages = ("llama-cpp-python", "gguf")
    precisions = ("float32", "float16", "q8_0")
    tolerance = 1e-2  # it rounds keys, values and the input of gelu to float16

    def __init__(self, folder, converted, precision):
        import llama_cpp

        self.llama_cpp = llama_cpp
        options = llama_cpp.llama_model_default_params()
        options.use_extra_bufts = False  # no Intel AMX: q8_0 can crash there, llama.cpp pull 26954
        self.model = llama_cpp.llama_model_load_from_file(f"{converted}/model.gguf".encode(), options)
        vocabulary = llama_cpp.llama_model_get_vocab(self.model)
        self.n_vocab = llama_cpp.llama_vocab_n_tokens(vocabulary)
        self.n_ctx = llama_cpp.llama_model_n_ctx_train(self.model)
        self.contexts = {}  # most texts -> a context
        self.batch = llama_cpp.llama_batch_init(MAX_BATCH * N_CTX_BATCH, 0, 1)

    def new_context(self, n_seq_max, n_ctx):
        """Allocate room for n_seq_max texts, with n_ctx tokens in total."""
        options = self.llama_cpp.llama_context_default_params()
        options.n_seq_max, options.n_ctx, options.n_batch, options.n_ubatch = n_seq_max, n_ctx, n_ctx, 512
        options.kv_unified = False  # faster for texts without a common start
        options.n_threads = options.n_threads_batch = N_THREADS
        return self.llama_cpp.llama_init_from_model(self.model, options)

    def begin(self, prompts, n_tokens):
        n_seq_max, n_ctx = (1, self.n_ctx) if len(prompts) == 1 else (MAX_BATCH, MAX_BATCH * N_CTX_BATCH)
        if n_seq_max not in self.contexts:
            self.contexts[n_seq_max] = self.new_context(n_seq_max, n_ctx)
        self.context, self.n_past = self.contexts[n_seq_max], 0
        self.llama_cpp.llama_memory_clear(self.llama_cpp.llama_get_memory(self.context), True)

    def forward(self, ids):
        n_seq = len(ids[0])
        batch, last = self.batch, []
        batch.n_tokens = 0
        for text, new_ids in enumerate(ids):
            for n, token_id in enumerate(new_ids):
                place = batch.n_tokens
                batch.token[place], batch.pos[place] = token_id, self.n_past + n
                batch.n_seq_id[place], batch.seq_id[place][0] = 1, text
                batch.logits[place] = n == n_seq - 1
                batch.n_tokens += 1
            last.append(place)
        if self.llama_cpp.llama_decode(self.context, batch):
            raise RuntimeError("llama_decode failed")
        self.n_past += n_seq
        logits = [self.llama_cpp.llama_get_logits_ith(self.context, place) for place in last]
        return np.stack([np.ctypeslib.as_array(row, (self.n_vocab,)) for row in logits])
