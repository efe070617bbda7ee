"""Labels of words, and spans that are found as tags of words; and how texts are read that are answered word by word."""
