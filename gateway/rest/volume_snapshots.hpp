#pragma once

#include "gateway/rest/request.hpp"

namespace troupe {

// Snapshots of custom volumes: /1.0/storage-pools/{name}/volumes/{type}/{volume}/snapshots.
void get_volume_snapshots(const rest_request& from);
void post_volume_snapshots(const rest_request& from);
void get_volume_snapshot(const rest_request& from);
void put_volume_snapshot(const rest_request& from);
void patch_volume_snapshot(const rest_request& from);
void post_volume_snapshot(const rest_request& from);
void delete_volume_snapshot(const rest_request& from);

} // namespace troupe
