"""How large the error of each precision is, and how fast it: convkit's, and PyTorch's float32 and bfloat16."""
