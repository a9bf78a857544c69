#pragma once

#include "backends/instance/id_maps.hpp"
#include "backends/instance/instance_driver.hpp"
#include "backends/instance/lxc/lxc_config.hpp"
#include "backends/instance/lxc/zygote.hpp"

namespace troupe::lxc {

/// The head of every request.
struct job_address {
  std::string key, lxcpath, stage;
  uint32_t seconds = 0;
};

// The driver's values as messages to the helper ...
job_request start_request(const job_address& job, const boot_plan& plan, const id_maps& maps, const settings& config,
                          const std::string& cgroup_prefix);
job_request find_request(const job_address& job);
job_request await_reboot_request(const job_address& job);
job_request freeze_request(const job_address& job, bool freeze);
job_request console_request(const job_address& job, bool clear);
job_request attach_request(const job_address& job, uint16_t width, uint16_t height);
job_request exec_request(const job_address& job, const exec_plan& plan);
job_request read_request(const job_address& job, const file_root& root, const std::string& path);
job_request write_request(const job_address& job, const file_root& root, const std::string& path,
                          const file_write& how);
job_request plug_request(const job_address& job, const live_instance& to, const mount_plan& mount, bool remove);
job_request plug_request(const job_address& job, const live_instance& to, const node_plan& node, bool remove);
job_request rule_request(const job_address& job, const std::string& rule, bool allow);
job_request remove_request(const job_address& job, const file_root& root, const std::string& path);
job_request sftp_request(const job_address& job, const file_root& root);

// ... and its answers as the driver's values.
outcome<std::optional<instance_found>> read_found(const job_reply& reply);
outcome<std::string> read_log(const job_reply& reply);

} // namespace troupe::lxc
