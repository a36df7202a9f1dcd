"""One module a verb: flags in, one call of the library, printed result out."""
