#pragma once

#include "backends/sink/sink_writer.hpp"

namespace troupe {

/// JSON lines, appended to DIRECTORY/FILE and synced before a batch counts as written.
std::unique_ptr<sink_writer> make_file_sink(const std::string& directory, const std::string& file);
/// CloudEvents 1.0 (structured JSON) by POST.
std::unique_ptr<sink_writer> make_webhook_sink(const config_map& config);
/// Published on PREFIX.SUBJECT, and acknowledged by the server or by a stream.
std::unique_ptr<sink_writer> make_nats_sink(const std::string& name, const config_map& config);

/// A URL of one of these schemes with a host and without credentials; path and query only where they are allowed.
bool is_sink_url(const std::string& value, std::initializer_list<std::string_view> schemes, bool with_path);

/// unsupported, with what is missing: no sink but a file can be made here.
outcome<void> check_network_sinks();

} // namespace troupe
