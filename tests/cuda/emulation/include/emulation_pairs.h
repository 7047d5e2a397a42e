/* SPDX-License-Identifier: Apache-2.0
 *
 * Host emulation: arithmetic that half and bfloat16 share. Included twice, with the type and its
 * pair as macros; no guard on purpose.
 */
inline EMULATION_NUMBER __hadd(EMULATION_NUMBER a, EMULATION_NUMBER b) {
    return EMULATION_NUMBER(float(a) + float(b));
}

inline EMULATION_NUMBER __hsub(EMULATION_NUMBER a, EMULATION_NUMBER b) {
    return EMULATION_NUMBER(float(a) - float(b));
}

inline EMULATION_NUMBER __hmul(EMULATION_NUMBER a, EMULATION_NUMBER b) {
    return EMULATION_NUMBER(float(a) * float(b));
}

inline EMULATION_NUMBER __hfma(EMULATION_NUMBER a, EMULATION_NUMBER b, EMULATION_NUMBER c) {
    return EMULATION_NUMBER(fmaf(float(a), float(b), float(c)));
}

inline EMULATION_NUMBER __hmax(EMULATION_NUMBER a, EMULATION_NUMBER b) {
    return EMULATION_NUMBER(fmaxf(float(a), float(b)));
}

inline EMULATION_NUMBER __hmin(EMULATION_NUMBER a, EMULATION_NUMBER b) {
    return EMULATION_NUMBER(fminf(float(a), float(b)));
}

inline bool __hisnan(EMULATION_NUMBER a) {
    return float(a) != float(a);
}

inline EMULATION_PAIR __hadd2(EMULATION_PAIR a, EMULATION_PAIR b) {
    return EMULATION_PAIR(__hadd(a.x, b.x), __hadd(a.y, b.y));
}

inline EMULATION_PAIR __hsub2(EMULATION_PAIR a, EMULATION_PAIR b) {
    return EMULATION_PAIR(__hsub(a.x, b.x), __hsub(a.y, b.y));
}

inline EMULATION_PAIR __hmul2(EMULATION_PAIR a, EMULATION_PAIR b) {
    return EMULATION_PAIR(__hmul(a.x, b.x), __hmul(a.y, b.y));
}

inline EMULATION_PAIR __hfma2(EMULATION_PAIR a, EMULATION_PAIR b, EMULATION_PAIR c) {
    return EMULATION_PAIR(__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y));
}

inline float __low2float(EMULATION_PAIR a) {
    return a.x;
}

inline float __high2float(EMULATION_PAIR a) {
    return a.y;
}
