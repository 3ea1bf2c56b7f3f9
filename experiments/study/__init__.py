"""The study on CIFAR-100: carrying its runs out, how far they are, and what they show."""
