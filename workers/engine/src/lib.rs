//! Takes the volume snapshot a tick asks for, holds the restore claim, and tears both down.
