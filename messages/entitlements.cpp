#include "messages/entitlements.hpp"

#include <algorithm>
#include <map>
#include <utility>

namespace troupe {
namespace {

constexpr entity_type_row types[] = {
    {"server", "/1.0", false, "Server"},
    {"project", "/1.0/projects/*", false, "Project"},
    {"instance", "/1.0/instances/*", true, "Instance"},
    {"image", "/1.0/images/*", true, "Image"},
    {"image_alias", "/1.0/images/aliases/**", true, "Alias"},
    {"profile", "/1.0/profiles/*", true, "Profile"},
    {"network", "/1.0/networks/*", true, "Network"},
    {"storage_pool", "/1.0/storage-pools/*", false, "Storage pool"},
    {"storage_volume", "/1.0/storage-pools/*/volumes/*/*", true, "Storage volume"},
    {"certificate", "/1.0/certificates/*", false, "Certificate"},
    {"identity", "/1.0/auth/identities/*/*", false, "Identity"},
    {"group", "/1.0/auth/groups/*", false, "Group"},
    {"identity_provider_group", "/1.0/auth/identity-provider-groups/*", false, "Identity provider group"},
};

// Names and meaning as LXD's, for the kinds of things that are here.
constexpr entitlement_row rows[] = {
    {"server", "admin", "", "", "Everything"},
    {"server", "viewer", "", "", "View everything but who may do what"},
    {"server", "can_edit", "", "", "Change the server's configuration"},
    {"server", "permission_manager", "", "", "View, make, change and delete identities and groups"},
    {"server", "can_view_permissions", "permission_manager", "", "View which permissions can be given"},
    {"server", "can_create_identities", "permission_manager", "", "Make identities"},
    {"server", "can_view_identities", "permission_manager can_edit_identities can_delete_identities", "",
     "View identities"},
    {"server", "can_edit_identities", "permission_manager", "", "Change identities"},
    {"server", "can_delete_identities", "permission_manager", "", "Delete identities"},
    {"server", "can_create_groups", "permission_manager", "", "Make groups"},
    {"server", "can_view_groups", "permission_manager can_edit_groups can_delete_groups", "", "View groups"},
    {"server", "can_edit_groups", "permission_manager", "", "Change groups"},
    {"server", "can_delete_groups", "permission_manager", "", "Delete groups"},
    {"server", "can_create_identity_provider_groups", "permission_manager", "", "Map an identity provider's groups"},
    {"server", "can_view_identity_provider_groups",
     "permission_manager can_edit_identity_provider_groups can_delete_identity_provider_groups", "",
     "View how an identity provider's groups are mapped"},
    {"server", "can_edit_identity_provider_groups", "permission_manager", "",
     "Change how an identity provider's groups are mapped"},
    {"server", "can_delete_identity_provider_groups", "permission_manager", "", "Delete such mappings"},
    {"server", "storage_pool_manager", "", "", "Make, change and delete storage pools"},
    {"server", "can_create_storage_pools", "storage_pool_manager", "", "Make storage pools"},
    {"server", "can_edit_storage_pools", "storage_pool_manager", "", "Change storage pools"},
    {"server", "can_delete_storage_pools", "storage_pool_manager", "", "Delete storage pools"},
    {"server", "project_manager", "", "", "Make, change and delete projects and all that is in them"},
    {"server", "can_create_projects", "project_manager", "", "Make projects"},
    {"server", "can_view_projects", "project_manager viewer can_edit_projects can_delete_projects", "",
     "View projects, but not what is in them"},
    {"server", "can_edit_projects", "project_manager", "", "Change projects"},
    {"server", "can_delete_projects", "project_manager", "", "Delete projects"},
    {"server", "can_view_privileged_events", "", "", "Follow the server's own events"},
    {"server", "can_view_resources", "viewer", "", "View the host's hardware"},
    {"server", "can_view_metrics", "viewer", "", "Measure the server and all projects"},
    {"server", "can_view_warnings", "viewer", "", "View warnings"},
    {"server", "can_view_unmanaged_networks", "viewer", "", "View the host's own network interfaces"},

    {"project", "operator", "", "project_manager", "Everything in the project, but not the project itself"},
    {"project", "viewer", "operator", "viewer", "View the project and all that is in it"},
    {"project", "can_view", "viewer can_edit can_delete", "can_view_projects", "View the project"},
    {"project", "can_edit", "", "can_edit_projects", "Change the project"},
    {"project", "can_delete", "", "can_delete_projects", "Delete the project"},
    {"project", "image_manager", "operator", "", "Make, view, change and delete images"},
    {"project", "can_create_images", "image_manager", "", "Make images"},
    {"project", "can_view_images", "image_manager viewer can_edit_images can_delete_images", "", "View images"},
    {"project", "can_edit_images", "image_manager", "", "Change images"},
    {"project", "can_delete_images", "image_manager", "", "Delete images"},
    {"project", "image_alias_manager", "operator", "", "Make, view, change and delete aliases of images"},
    {"project", "can_create_image_aliases", "image_alias_manager", "", "Make aliases of images"},
    {"project", "can_view_image_aliases", "image_alias_manager viewer can_edit_image_aliases can_delete_image_aliases",
     "", "View aliases of images"},
    {"project", "can_edit_image_aliases", "image_alias_manager", "", "Change aliases of images"},
    {"project", "can_delete_image_aliases", "image_alias_manager", "", "Delete aliases of images"},
    {"project", "instance_manager", "operator", "", "Make, view, change, use and delete instances"},
    {"project", "can_create_instances", "instance_manager", "", "Make instances"},
    {"project", "can_view_instances",
     "instance_manager viewer can_edit_instances can_delete_instances can_operate_instances", "", "View instances"},
    {"project", "can_edit_instances", "instance_manager", "", "Change instances"},
    {"project", "can_delete_instances", "instance_manager", "", "Delete instances"},
    {"project", "can_operate_instances", "instance_manager", "",
     "View instances, start and stop them, and use all that is in them"},
    {"project", "network_manager", "operator", "", "Make, view, change and delete networks"},
    {"project", "can_create_networks", "network_manager", "", "Make networks"},
    {"project", "can_view_networks", "network_manager viewer can_edit_networks can_delete_networks", "",
     "View networks"},
    {"project", "can_edit_networks", "network_manager", "", "Change networks"},
    {"project", "can_delete_networks", "network_manager", "", "Delete networks"},
    {"project", "profile_manager", "operator", "", "Make, view, change and delete profiles"},
    {"project", "can_create_profiles", "profile_manager", "", "Make profiles"},
    {"project", "can_view_profiles", "profile_manager viewer can_edit_profiles can_delete_profiles", "",
     "View profiles"},
    {"project", "can_edit_profiles", "profile_manager", "", "Change profiles"},
    {"project", "can_delete_profiles", "profile_manager", "", "Delete profiles"},
    {"project", "storage_volume_manager", "operator", "", "Make, view, change and delete volumes"},
    {"project", "can_create_storage_volumes", "storage_volume_manager", "", "Make volumes"},
    {"project", "can_view_storage_volumes",
     "storage_volume_manager viewer can_edit_storage_volumes can_delete_storage_volumes", "", "View volumes"},
    {"project", "can_edit_storage_volumes", "storage_volume_manager", "", "Change volumes"},
    {"project", "can_delete_storage_volumes", "storage_volume_manager", "", "Delete volumes"},
    {"project", "can_view_operations", "viewer", "", "View the operations of others"},
    {"project", "can_view_events", "viewer", "", "Follow the project's events"},
    {"project", "can_view_metrics", "viewer", "can_view_metrics", "Measure the project"},

    {"instance", "user", "operator", "", "View the instance, and use all that is in it"},
    {"instance", "operator", "", "", "Use the instance, start and stop it, and keep snapshots and backups of it"},
    {"instance", "can_view",
     "can_edit can_delete can_update_state can_manage_snapshots can_manage_backups can_connect_sftp can_access_files "
     "can_access_console can_exec user",
     "can_view_instances", "View the instance"},
    {"instance", "can_edit", "", "can_edit_instances", "Change the instance"},
    {"instance", "can_delete", "", "can_delete_instances", "Delete the instance"},
    {"instance", "can_update_state", "operator", "can_operate_instances", "Start and stop the instance"},
    {"instance", "can_manage_snapshots", "operator", "can_operate_instances", "Keep snapshots of the instance"},
    {"instance", "can_manage_backups", "operator", "can_operate_instances", "Keep backups of the instance"},
    {"instance", "can_connect_sftp", "user", "can_operate_instances", "Use the instance's files by SFTP"},
    {"instance", "can_access_files", "user", "can_operate_instances", "Push and pull the instance's files"},
    {"instance", "can_access_console", "user", "can_operate_instances", "Use the instance's console"},
    {"instance", "can_exec", "user", "can_operate_instances", "Run commands in the instance"},

    {"image", "can_view", "can_edit can_delete", "can_view_images", "View the image"},
    {"image", "can_edit", "", "can_edit_images", "Change the image"},
    {"image", "can_delete", "", "can_delete_images", "Delete the image"},
    {"image_alias", "can_view", "can_edit can_delete", "can_view_image_aliases", "View the alias"},
    {"image_alias", "can_edit", "", "can_edit_image_aliases", "Change the alias"},
    {"image_alias", "can_delete", "", "can_delete_image_aliases", "Delete the alias"},
    {"profile", "can_view", "can_edit can_delete", "can_view_profiles", "View the profile"},
    {"profile", "can_edit", "", "can_edit_profiles", "Change the profile"},
    {"profile", "can_delete", "", "can_delete_profiles", "Delete the profile"},
    {"network", "can_view", "can_edit can_delete", "can_view_networks", "View the network"},
    {"network", "can_edit", "", "can_edit_networks", "Change the network"},
    {"network", "can_delete", "", "can_delete_networks", "Delete the network"},
    {"storage_pool", "can_edit", "", "can_edit_storage_pools", "Change the storage pool"},
    {"storage_pool", "can_delete", "", "can_delete_storage_pools", "Delete the storage pool"},
    {"storage_volume", "can_view", "can_edit can_delete can_manage_snapshots can_manage_backups",
     "can_view_storage_volumes", "View the volume"},
    {"storage_volume", "can_edit", "", "can_edit_storage_volumes", "Change the volume"},
    {"storage_volume", "can_delete", "", "can_delete_storage_volumes", "Delete the volume"},
    {"storage_volume", "can_manage_snapshots", "", "can_edit_storage_volumes", "Keep snapshots of the volume"},
    {"storage_volume", "can_manage_backups", "", "can_edit_storage_volumes", "Keep backups of the volume"},
    {"certificate", "can_view", "can_edit can_delete", "can_view_identities", "View the certificate"},
    {"certificate", "can_edit", "", "can_edit_identities", "Rename the certificate"},
    {"certificate", "can_delete", "", "can_delete_identities", "Delete the certificate"},
    {"identity", "can_view", "can_edit can_delete", "can_view_identities", "View the identity"},
    {"identity", "can_edit", "", "can_edit_identities", "Change the identity"},
    {"identity", "can_delete", "", "can_delete_identities", "Delete the identity"},
    {"group", "can_view", "can_edit can_delete", "can_view_groups", "View the group"},
    {"group", "can_edit", "", "can_edit_groups", "Change the group"},
    {"group", "can_delete", "", "can_delete_groups", "Delete the group"},
    {"identity_provider_group", "can_view", "can_edit can_delete", "can_view_identity_provider_groups",
     "View the mapping"},
    {"identity_provider_group", "can_edit", "", "can_edit_identity_provider_groups", "Change the mapping"},
    {"identity_provider_group", "can_delete", "", "can_delete_identity_provider_groups", "Delete the mapping"},
};

using row_key = std::pair<std::string_view, std::string_view>;

const std::map<row_key, const entitlement_row*>& by_name() {
  static const std::map<row_key, const entitlement_row*> all = [] {
    std::map<row_key, const entitlement_row*> out;
    for (auto& row : rows) out.emplace(row_key{row.type, row.name}, &row);
    return out;
  }();
  return all;
}

} // namespace

std::span<const entity_type_row> entity_types() { return types; }

const entity_type_row* find_entity_type(std::string_view type) {
  auto at = std::find_if(std::begin(types), std::end(types), [&](auto& row) { return row.type == type; });
  return at == std::end(types) ? nullptr : at;
}

std::span<const entitlement_row> entitlements() { return rows; }

const entitlement_row* find_entitlement(std::string_view type, std::string_view name) {
  auto at = by_name().find({type, name});
  return at == by_name().end() ? nullptr : at->second;
}

} // namespace troupe
