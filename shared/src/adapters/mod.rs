//! The adapters of the ports that more than one worker uses.
