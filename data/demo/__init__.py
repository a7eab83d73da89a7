"""The demonstration corpora: raw data of every source, built from the text that each installation already has."""
