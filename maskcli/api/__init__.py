"""The functions of the library, one file each: from data to the record that the command of that name shows."""
