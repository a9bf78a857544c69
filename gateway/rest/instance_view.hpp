#pragma once

#include "actors/expander.hpp"
#include "actors/instance.hpp"
#include "actors/services.hpp"
#include "messages/instance.capnp.h"

#include <string>

namespace troupe {

/// Everything of an instance that REST shows, from the records: appends the Instance object (recursion 1).
void write_instance(std::string& out, expander& expand, schema::InstanceSpec::Reader spec, const status_record& status);

/// Appends the InstanceSnapshot object.
void write_snapshot(std::string& out, const snapshot& records, const std::string& project,
                    const message<schema::SnapshotSpec>& taken);

/// InstanceState of one instance; for a running one it measures the host (cgroups, links), so it blocks.
message<schema::InstanceState> measure_state(services& with, expander& expand, schema::InstanceSpec::Reader spec,
                                             const status_record& status);

/// Appends InstanceFull (recursion 2).
void write_instance_full(std::string& out, services& with, expander& expand, schema::InstanceSpec::Reader spec,
                         const status_record& status);

} // namespace troupe
