"""CMU-MOSI: opinions in 93 video monologues, with the features of two research lines."""
