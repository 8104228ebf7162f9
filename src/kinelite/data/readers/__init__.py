"""What turns a path into frames: video files, images, prepared clips; see `kinelite.data.decode.Reader`."""
