"""Networks of the default modules: descriptions (`configs`), choice by spaces (`catalog`), PyTorch
(`torch`).
"""
