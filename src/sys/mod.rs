//! The only unsafe code of the host: libvirt callbacks.
