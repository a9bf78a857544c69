#pragma once

#include "backends/sink/sink_writer.hpp"

/// The entries of the module `troupe-sinks.so`: writers whose libraries (libcurl, libnats and the thirty that they
/// bring) cost a daemon 5 MB, also one without sinks. network_sinks.cpp loads it when the first such sink is made. The
/// caller owns the writer, and the module stays loaded.
extern "C" {
[[gnu::visibility("default")]] troupe::sink_writer* troupe_make_webhook_sink(const troupe::config_map& config);
[[gnu::visibility("default")]] troupe::sink_writer* troupe_make_nats_sink(const std::string& name,
                                                                          const troupe::config_map& config);
/// One of these schemes, a host, no credentials; path and query only where they are allowed.
[[gnu::visibility("default")]] bool troupe_url_fits(const std::string& value, std::span<const std::string_view> schemes,
                                                    bool with_path);
}
