"""Paths of Temporal's published HTTP API that Odradek does not serve: they answer 501,
everything else 404.

From its OpenAPI description (API 1.64.3, November 2026): method, path below `/api/v1`, call.
Names in braces are single segments.
"""

from __future__ import annotations

_IN_NAMESPACE = """
GET /activities ListActivityExecutions
GET /activities/{} DescribeActivityExecution
POST /activities/{} StartActivityExecution
POST /activities/{}/cancel RequestCancelActivityExecution
GET /activities/{}/outcome PollActivityExecution
POST /activities/{}/pause PauseActivityExecution
POST /activities/{}/reset ResetActivityExecution
POST /activities/{}/terminate TerminateActivityExecution
POST /activities/{}/unpause UnpauseActivityExecution
POST /activities/{}/update-options UpdateActivityExecutionOptions
POST /activities-deprecated/pause PauseActivity
POST /activities-deprecated/reset ResetActivity
POST /activities-deprecated/unpause UnpauseActivity
POST /activities-deprecated/update-options UpdateActivityOptions
GET /activity-count CountActivityExecutions
GET /archived-workflows ListArchivedWorkflowExecutions
GET /current-deployment/{} GetCurrentDeployment
POST /current-deployment/{} SetCurrentDeployment
GET /deployments ListDeployments
GET /deployments/{}/{} DescribeDeployment
GET /deployments/{}/{}/reachability GetDeploymentReachability
GET /nexus-operation-count CountNexusOperationExecutions
GET /nexus-operations ListNexusOperationExecutions
GET /nexus-operations/{} DescribeNexusOperationExecution
POST /nexus-operations/{} StartNexusOperationExecution
POST /nexus-operations/{}/cancel RequestCancelNexusOperationExecution
GET /nexus-operations/{}/poll PollNexusOperationExecution
POST /nexus-operations/{}/terminate TerminateNexusOperationExecution
GET /schedule-count CountSchedules
GET /schedules ListSchedules
GET /schedules/{} DescribeSchedule
POST /schedules/{} CreateSchedule
DELETE /schedules/{} DeleteSchedule
GET /schedules/{}/matching-times ListScheduleMatchingTimes
POST /schedules/{}/patch PatchSchedule
POST /schedules/{}/update UpdateSchedule
POST /task-queues/{}/update-config UpdateTaskQueueConfig
GET /task-queues/{}/worker-build-id-compatibility GetWorkerBuildIdCompatibility
GET /task-queues/{}/worker-versioning-rules GetWorkerVersioningRules
POST /update UpdateNamespace
POST /worker-deployment-versions/{} CreateWorkerDeploymentVersion
GET /worker-deployment-versions/{}/{} DescribeWorkerDeploymentVersion
DELETE /worker-deployment-versions/{}/{} DeleteWorkerDeploymentVersion
POST /worker-deployment-versions/{}/{}/update-compute-config UpdateWorkerDeploymentVersionComputeConfig
POST /worker-deployment-versions/{}/{}/update-metadata UpdateWorkerDeploymentVersionMetadata
POST /worker-deployment-versions/{}/{}/validate-compute-config ValidateWorkerDeploymentVersionComputeConfig
GET /worker-deployments ListWorkerDeployments
GET /worker-deployments/{} DescribeWorkerDeployment
POST /worker-deployments/{} CreateWorkerDeployment
DELETE /worker-deployments/{} DeleteWorkerDeployment
POST /worker-deployments/{}/set-current-version SetWorkerDeploymentCurrentVersion
POST /worker-deployments/{}/set-manager SetWorkerDeploymentManager
POST /worker-deployments/{}/set-ramping-version SetWorkerDeploymentRampingVersion
GET /worker-task-reachability GetWorkerTaskReachability
POST /workers/fetch-config FetchWorkerConfig
POST /workers/heartbeat RecordWorkerHeartbeat
POST /workers/update-config UpdateWorkerConfig
GET /workflow-rules ListWorkflowRules
POST /workflow-rules CreateWorkflowRule
GET /workflow-rules/{} DescribeWorkflowRule
DELETE /workflow-rules/{} DeleteWorkflowRule
POST /workflows/{}/activities/{}/pause PauseActivityExecution
POST /workflows/{}/activities/{}/reset ResetActivityExecution
POST /workflows/{}/activities/{}/unpause UnpauseActivityExecution
POST /workflows/{}/activities/{}/update-options UpdateActivityExecutionOptions
POST /workflows/{}/pause PauseWorkflowExecution
POST /workflows/{}/reset ResetWorkflowExecution
GET /workflows/{}/time-skipping/poll PollWorkflowExecutionTimeSkipping
POST /workflows/{}/trigger-rule TriggerWorkflowRule
POST /workflows/{}/unpause UnpauseWorkflowExecution
POST /workflows/{}/update/{} UpdateWorkflowExecution
POST /workflows/{}/update-options UpdateWorkflowExecutionOptions
"""
_BESIDE = """
POST /namespaces RegisterNamespace
GET /nexus/endpoints ListNexusEndpoints
POST /nexus/endpoints CreateNexusEndpoint
GET /nexus/endpoints/{} GetNexusEndpoint
DELETE /nexus/endpoints/{} DeleteNexusEndpoint
POST /nexus/endpoints/{}/update UpdateNexusEndpoint
"""


def unserved() -> list[tuple[str, str, str]]:
    """Method, path below `/api/v1`, call."""
    found = []
    for text, prefix in ((_BESIDE, ""), (_IN_NAMESPACE, "/namespaces/{namespace:segment}")):
        for line in text.strip().splitlines():
            method, path, name = line.split()
            found.append((method, prefix + _numbered(path), name))
    return found


def _numbered(path: str) -> str:
    """Braces with names, as a route wants them."""
    parts = path.split("{}")
    return "".join(
        part + (f"{{p{number}:segment}}" if number < len(parts) - 1 else "")
        for number, part in enumerate(parts)
    )
