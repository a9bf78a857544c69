#pragma once

#include "gateway/rest/request.hpp"
#include "messages/instance.capnp.h"

namespace troupe {

/// POST /1.0/instances with a source of type migration: another server's instance comes here.
void receive_migration(const rest_request& from, const message<schema::CreateInstance>& body);

/// POST /1.0/instances/NAME: whether an instance is wanted by another server, rather than another name or place here.
bool asks_to_send(schema::RenameInstance::Reader post);
void send_migration(const rest_request& from, schema::RenameInstance::Reader post);
/// POST /1.0/instances/NAME/snapshots/SNAPSHOT with migration.
void send_migration(const rest_request& from, schema::SnapshotPost::Reader post);

} // namespace troupe
