# SPDX-License-Identifier: Apache-2.0
"""The forward pass of ESM-1nv in float64, straight from its description and from nothing else.

This is the outside truth of the accuracy tests: plain numpy, one sequence at a time, no shared
code, no shared choices. Slow and short on purpose.

    reference = Reference("model.nemo")
    rows = reference.embed("MKTAYIAKQR")         float64 [residues, hidden]
    bos = reference.bos("MKTAYIAKQR")            float64 [hidden], None where <s> has no room
"""
import math

import numpy as np

import nemo_file

HEAD_SIZE = 64


def _erf_table(step, limit, terms):
    """Taylor coefficients of erf around k * step: erf's derivatives are Hermite polynomials."""
    centers = np.arange(-round(limit / step), round(limit / step) + 1) * step
    slope = 2 / math.sqrt(math.pi) * np.exp(-centers * centers)
    table = np.empty((terms + 1, centers.size))
    table[0] = [math.erf(center) for center in centers]
    before, hermite = np.zeros_like(centers), np.ones_like(centers)
    for n in range(terms):
        table[n + 1] = (-1) ** n * hermite * slope / math.factorial(n + 1)
        before, hermite = hermite, 2 * centers * hermite - 2 * n * before
    return table


_STEP, _LIMIT = 1 / 64, 6.5
_ERF = _erf_table(_STEP, _LIMIT, 7)


def erf(x):
    """erf of an array, within 1e-15 of math.erf."""
    clipped = np.clip(x, -_LIMIT + _STEP, _LIMIT - _STEP)  # erf is +-1 to the last bit from 6 on
    nearest = np.rint(clipped / _STEP)
    index = (nearest + round(_LIMIT / _STEP)).astype(np.intp)
    h = clipped - nearest * _STEP
    value = _ERF[-1][index]
    for coefficients in _ERF[-2::-1]:
        value = value * h + coefficients[index]
    return value


def gelu_erf(x):
    return 0.5 * x * (1 + erf(x / math.sqrt(2)))


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(0.79788456 * x * (1 + 0.044715 * x * x)))


def uses_erf(config):
    """bias_gelu_fusion false means erf, unless openai_gelu asks for tanh again."""
    fused = config.get("bias_gelu_fusion", config.get("bias_activation_fusion"))
    return fused is False and config.get("openai_gelu") is not True


def layer_norm(x, gain, bias, epsilon):
    mean = x.mean(axis=-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(axis=-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + epsilon) * gain + bias


def softmax(scores):
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


class Reference:
    def __init__(self, path):
        config, self.tensors, self.ids = nemo_file.read_nemo(path)
        self.gelu = gelu_erf if uses_erf(config) else gelu_tanh
        self.epsilon = float(config.get("layernorm_epsilon", 1e-5))
        self.words = self._get("embedding.word_embeddings.weight")
        self.places = self._get("embedding.position_embeddings.weight")
        self.positions = self.places.shape[0]
        self.hidden = self.words.shape[1]
        self.layers = 1 + max(int(name.split(".layers.")[1].split(".")[0])
                              for name in self.tensors if ".layers." in name)

    def _get(self, name):
        return self.tensors["language_model." + name]

    def _linear(self, x, name):
        return x @ self._get(name + ".weight").T + self._get(name + ".bias")

    def _norm(self, x, name):
        return layer_norm(x, self._get(name + ".weight"), self._get(name + ".bias"), self.epsilon)

    def tokens(self, sequence):
        """(ids, index of the first residue, residues): residues first, then <s>, then </s>."""
        sequence = sequence[:self.positions]
        residues = [self.ids.get(letter, self.ids["<unk>"]) for letter in sequence]
        room = self.positions - len(residues)
        begin = [self.ids["<s>"]] if room >= 1 else []
        end = [self.ids["</s>"]] if room >= 2 else []
        return begin + residues + end, len(begin), len(residues)

    def _attention(self, x, layer):
        tokens, heads = x.shape[0], self.hidden // HEAD_SIZE
        qkv = self._linear(x, layer + ".self_attention.query_key_value")
        # Rows of the weight are grouped by head, each with its q, k and v.
        query, key, value = qkv.reshape(tokens, heads, 3, HEAD_SIZE).transpose(2, 1, 0, 3)
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(HEAD_SIZE)
        context = (softmax(scores) @ value).transpose(1, 0, 2).reshape(tokens, self.hidden)
        return self._linear(context, layer + ".self_attention.dense")

    def encode(self, ids):
        """All rows of the last LayerNorm, one per token."""
        x = self.words[ids] + self.places[:len(ids)]
        for index in range(self.layers):
            layer = "encoder.layers.%d" % index
            x = x + self._attention(self._norm(x, layer + ".input_layernorm"), layer)
            inner = self._linear(self._norm(x, layer + ".post_attention_layernorm"),
                                 layer + ".mlp.dense_h_to_4h")
            x = x + self._linear(self.gelu(inner), layer + ".mlp.dense_4h_to_h")
        return self._norm(x, "encoder.final_layernorm")

    def embed(self, sequence):
        ids, first, residues = self.tokens(sequence)
        return self.encode(ids)[first:first + residues]

    def bos(self, sequence):
        ids, first, _ = self.tokens(sequence)
        return self.encode(ids)[0] if first else None
