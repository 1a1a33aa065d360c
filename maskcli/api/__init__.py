"""The verbs of the library, one file each: from data to the record that the command of the same name shows."""
