//! Names, labels and help texts of every metric.
