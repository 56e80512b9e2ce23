"""The tables of the SpinMultiNet paper on data that two cores can label and learn."""
