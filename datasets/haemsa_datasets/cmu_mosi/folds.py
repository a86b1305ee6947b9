"""The videos of each split of the contextual line: bc-LSTM's 62 and 31, 10 of the 62 kept apart."""

# ruff: noqa: SIM905 (a list literal would take a line an id)

FOLDS = {
    "train": """
        1DmNV9C1hbY 2iD-tVS8NPw 5W7Z1C_fDaE 6Egk_28TtTM 6_0THN4chvY 7JsX8y1ysxY 8OtFthrtaJM
        8qrpnFRGt2A 9T9Hf74oK10 9qR7uwkblbs BioHAh1qJAQ BvYR0L6f2Ig G6GlGvlkxAQ HEsqda8_d0Q
        IumbAb8q2dM MLal-t_vJPM OtBXNcAL_lE Oz06ZWiO20M POKffnXeBds PZ-lDQFboO8 Qr1Ca94K55A
        TvyZBvOMOTc VCslbP0mgZI VbQk4H8hgr0 W8NXH0Djyww X3j2zQgwYgE ZAIRrfG22O0 _dI--eQ6qVU
        aiEXnCPZubE atnd_PF-Lbs bvLlb-M3UXU c5xsKMxpXnc c7UH_rxdZv4 cXypl4FnoZo d3_k5Xpfmik
        dq3Nf_lMPnE etzxEpPuc6I f9O3YtZ2VfI f_pcplsH_V0 fvVhgmXxadc k5Y_838nuGo lXPQBPVc5Cw
        nbWiPyCm4g0 nzpVDcQ0ywM ob23OKe5a9Q phBUpBr1hSo rnaNMUZpvvg tIrG4oNLFzE v0zCBqDeKcE
        wMbj6ajWbic yvsjCA6Y5Fc zhpQhgha_KU
    """.split(),
    "validation": """
        73jzhE8R1TQ Bfr499ggo-0 LSi-o-IrDMs QN9ZIUWUXsY WKA5OygbEKI bOL9jKpeJRs d6hH302o4v8
        jUzDDGyPkXU pLTX3ipuDJI yDtzw_Y-7RU
    """.split(),
    "test": """
        03bSnISJMiM 0h-zjBukYpk 1iG0909rllw 2WGyTLYerpo 8d-gEyoeBzc 9J25DZhivz8 9c67fiY0wGQ
        Af8D0E4ZXaw BI97DNYfe5I BXuRRbG0Ugk Ci-AH39fi3Y Clx4VXItLTE Dg_0XKD0Mf4 G-xst2euQUc
        GWuJjcEuzt8 I5y0__X72p0 Iu2PFX3z_1s Jkswaaud0hk Njd1F0vZSm4 Nzq88NnDkEk OQvJTdtJ2H4
        Sqr0AcuoNnk Vj1wYRQjB-o ZUXBRvtny7o cM3Yna7AavY cW1FSBF59ik iiK8YX8oH1E tStelxIAHjw
        tmZoasNr4rU vvZ4IcEtiZc vyB00TXsimI
    """.split(),
}
