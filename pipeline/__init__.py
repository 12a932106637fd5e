LARGEST_SEED = 2**32 - 1  # that every library takes
