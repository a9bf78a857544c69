#pragma once

namespace troupe {

/// Tells the service manager, by the datagram protocol of sd_notify(3), that the daemon serves or that it stops.
/// Without NOTIFY_SOCKET in the environment, or when nobody listens there, nothing happens. Any thread.
void notify_ready();
void notify_stopping();

} // namespace troupe
